//! Programs that users have.

use lab::require;

use crate::engine::{Engine, said};

const URL: &str = "http://203.0.113.7/";

#[tokio::test]
async fn curl_and_wget_fetch() {
    require!(Program("curl"), Program("wget"));
    let engine = Engine::start(|_| {}).await;
    assert_eq!(
        said(engine.command("curl").args(["-sS", URL])).await,
        "hello"
    );
    assert_eq!(
        said(engine.command("wget").args(["-qO-", URL])).await,
        "hello"
    );
    assert_eq!(engine.asked(), ["203.0.113.7:80"; 2]);
}

#[tokio::test]
async fn asyncio_fetches() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = "
import asyncio
async def one(n):
    r, w = await asyncio.open_connection('203.0.113.7', 1000 + n)
    w.write(b'hello %d' % n); assert await r.read(99) == b'hello %d' % n; w.close()
async def main(): await asyncio.gather(*(one(n) for n in range(50)))
asyncio.run(main()); print('done')
";
    assert_eq!(engine.python(text).await, "done");
    assert_eq!(engine.asked().len(), 50);
}

#[tokio::test]
async fn node_fetches() {
    require!(Program("node"));
    let engine = Engine::start(|_| {}).await;
    let text = format!("fetch('{URL}').then(r => r.text()).then(t => process.stdout.write(t))");
    assert_eq!(
        said(engine.command("node").args(["-e", &text])).await,
        "hello"
    );
    assert_eq!(engine.asked(), ["203.0.113.7:80"]);
}

#[tokio::test]
async fn java_fetches() {
    require!(Program("java"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("Fetch.java");
    let text = format!(
        "import java.net.*; import java.net.http.*;
         class Fetch {{ public static void main(String[] a) throws Exception {{
           var r = HttpRequest.newBuilder(URI.create(\"{URL}\"))
             .version(HttpClient.Version.HTTP_1_1).build();
           System.out.print(HttpClient.newHttpClient()
             .send(r, HttpResponse.BodyHandlers.ofString()).body());
           var s = new Socket(\"203.0.113.8\", 80);
           System.out.print(s.getInetAddress().getHostAddress());
         }} }}"
    );
    std::fs::write(&file, text).unwrap();
    let engine = Engine::start(|_| {}).await;
    let out = said(engine.command("java").arg(&file)).await;
    assert_eq!(out, "hello\n203.0.113.8");
    assert_eq!(engine.asked(), ["203.0.113.7:80", "203.0.113.8:80"]);
}

#[tokio::test]
async fn git_asks_a_server_through_its_helper() {
    require!(Program("git"));
    let engine = Engine::start(|_| {}).await;
    let mut git = engine.command("git");
    git.args(["ls-remote", "http://203.0.113.7/x.git"])
        .env("GIT_TERMINAL_PROMPT", "0");
    // What comes back is no repository, which git says; what matters is who was asked.
    let (status, _, error) = crate::engine::ended(&mut git).await;
    assert_ne!(status, 0);
    assert!(error.contains("not valid"), "{error}");
    assert_eq!(engine.asked()[0], "203.0.113.7:80");
}
