"""Serves every path over HTTP/3 and over HTTPS, on one port, with a certificate made on the spot."""

import asyncio
import datetime
import ssl
import sys
import tempfile

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    with open(folder + "/key", "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, form, plain))
    with open(folder + "/certificate", "wb") as file:
        signed = builder.sign(key, hashes.SHA256())
        file.write(signed.public_bytes(serialization.Encoding.PEM))
    return folder + "/certificate", folder + "/key"


def body(path):
    if path.startswith("/bytes/"):
        return b"x" * int(path[len("/bytes/"):])
    return b"you asked for " + path.encode()


class Http3(QuicConnectionProtocol):
    http = None

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http is None:
            return
        for happened in self.http.handle_event(event):
            if isinstance(happened, HeadersReceived):
                self.answer(happened.stream_id, dict(happened.headers))

    def answer(self, stream, headers):
        peer = self._quic._network_paths[0].addr
        name, path = headers[b":authority"].decode(), headers[b":path"].decode()
        print("h3", name, path, peer[0].removeprefix("::ffff:"), flush=True)
        data = body(path)
        head = [(b":status", b"200"), (b"content-length", str(len(data)).encode())]
        self.http.send_headers(stream, head)
        self.http.send_data(stream, data, True)
        self.transmit()


async def https(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        peer = writer.get_extra_info("peername")
        name = writer.get_extra_info("ssl_object").asked or "-"
        print("https", name, path, peer[0].removeprefix("::ffff:"), flush=True)
        data = body(path)
        length = f"Content-Length: {len(data)}\r\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + b"\r\n" + data)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main():
    port = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        files = certificate(folder)
        quic = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
        quic.load_cert_chain(*files)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
        ssl.SSLObject.asked = None
        tls.sni_callback = lambda connection, name, _: setattr(connection, "asked", name)
        await serve("::", port, configuration=quic, create_protocol=Http3)
        for address in ["0.0.0.0", "::"]:
            await asyncio.start_server(https, address, port, ssl=tls)
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
