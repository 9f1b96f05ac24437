// Gets each URL, all at once.
import { createHash } from "node:crypto";

const lines = await Promise.all(
  process.argv.slice(2).map(async (url) => {
    const answer = await fetch(url);
    const body = Buffer.from(await answer.arrayBuffer());
    const digest = createHash("sha256").update(body).digest("hex");
    return `${answer.status} ${body.length} ${digest}`;
  }),
);
console.log(lines.join("\n"));
