"""A web server by HTTPS that answers with the header it got, and says what it was asked."""
import http.server
import ssl
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"x-added={self.headers.get('x-added')}".encode()
        print(self.command, self.path, body.decode(), flush=True)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def finish_request(self, request, address):
        # In the connection's own thread: a client that says nothing keeps nobody waiting.
        with context.wrap_socket(request, server_side=True) as stream:
            super().finish_request(stream, address)

    def handle_error(self, *_):
        pass


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server = Server((sys.argv[1], 443), Answer)
print("serving", flush=True)
server.serve_forever()
