"""Asks an address for a page of a name: over HTTP/3, and over HTTPS where that fails.

Says `h3 STATUS LENGTH` or `https STATUS LENGTH`, after `h3 failed: WHY` where it did.
"""

import asyncio
import socket
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated

ADDRESS, PORT, NAME, PATH, PATIENCE = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5], float(sys.argv[5])


class Client(QuicConnectionProtocol):
    """Fails as soon as the kernel says that datagrams are refused, as browsers do."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = H3Connection(self._quic)
        self.status, self.length = None, 0
        self.done = asyncio.get_running_loop().create_future()

    def error_received(self, error):
        self.end(error)

    def end(self, error=None):
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.end(ConnectionError(event.reason_phrase or "ended"))
        for happened in self.http.handle_event(event):
            if isinstance(happened, HeadersReceived):
                self.status = dict(happened.headers)[b":status"].decode()
            if isinstance(happened, DataReceived):
                self.length += len(happened.data)
            if getattr(happened, "stream_ended", False):
                self.end()


async def http3():
    loop = asyncio.get_running_loop()
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=NAME)
    settings.verify_mode = ssl.CERT_NONE
    make = lambda: Client(QuicConnection(configuration=settings))
    transport, client = await loop.create_datagram_endpoint(make, remote_addr=(ADDRESS, PORT))
    # Connected, so that errors come back; aioquic names the address with each datagram itself.
    connected = transport.get_extra_info("socket").getpeername()
    sendto = transport.sendto
    transport.sendto = lambda data, address=None: sendto(data)
    client.connect(connected)
    stream = client._quic.get_next_available_stream_id()
    head = [(b":method", b"GET"), (b":scheme", b"https")]
    head += [(b":authority", NAME.encode()), (b":path", PATH.encode())]
    client.http.send_headers(stream, head, True)
    client.transmit()
    try:
        await asyncio.wait_for(client.done, PATIENCE)
        client.close()
        client.transmit()
        return client.status, client.length
    finally:
        transport.close()


async def https():
    settings = ssl.create_default_context()
    settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        ADDRESS, PORT, ssl=settings, server_hostname=NAME
    )
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b" ")[1].decode(), len(await reader.read())


async def main():
    try:
        print("h3", *await http3())
        return
    except (OSError, asyncio.TimeoutError) as error:
        print("h3 failed:", type(error).__name__, flush=True)
    print("https", *await https())


asyncio.run(main())
