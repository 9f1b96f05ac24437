# Talks with echo servers, `HOST PORT` each, all at once by asyncio.
import asyncio
import sys


async def talk(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    peer = writer.get_extra_info("peername")[1]
    data = bytes(range(256)) * 2000
    writer.write(data)
    writer.write_eof()
    back = await reader.read()
    writer.close()
    await writer.wait_closed()
    return f"{host} {port}: peer port {peer}, {len(back)} bytes, the same: {back == data}"


async def main(words):
    servers = list(zip(words[::2], map(int, words[1::2])))
    talks = [talk(*server) for server in servers for _ in range(20)]
    for line in await asyncio.wait_for(asyncio.gather(*talks), 30):
        print(line)


asyncio.run(main(sys.argv[1:]))
