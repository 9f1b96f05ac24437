"""A gRPC server of every kind of call, whose messages are bytes. It says its port."""

from concurrent import futures
import sys

import grpc


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", metadata.get("x-asked", "none")),))
    context.set_trailing_metadata((("x-trailing", "t"), ("x-raw-bin", b"\x00\xff")))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked: \u00fc")
    return b"re: " + request


def receive(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def send(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def both(requests, context):
    for request in requests:
        if request == b"stop":
            return
        yield b"re: " + request


def wait(request, context):
    """Streams one message, then nothing until the client has gone, which it says."""
    context.add_callback(lambda: print("gone", flush=True))
    yield b"begun"
    futures.Future().result(timeout=60)


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Receive": grpc.unary_stream_rpc_method_handler(receive),
    "Send": grpc.stream_unary_rpc_method_handler(send),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Wait": grpc.unary_stream_rpc_method_handler(wait),
}

server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=80),
    options=[("grpc.max_receive_message_length", -1)],
)
server.add_generic_rpc_handlers(
    (grpc.method_handlers_generic_handler("steer.Test", HANDLERS),)
)
address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0"
port = server.add_insecure_port(address)
server.start()
print(f"port {port}", flush=True)
server.wait_for_termination()
