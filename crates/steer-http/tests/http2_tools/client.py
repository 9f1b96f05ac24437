"""A gRPC client that makes every kind of call, and says which went well."""

from concurrent import futures
import queue
import sys

import grpc

TIMEOUT = 30
options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
channel = grpc.insecure_channel(sys.argv[1], options=options)
path = "/steer.Test/"
unary = channel.unary_unary(path + "Unary")
receive = channel.unary_stream(path + "Receive")
send = channel.stream_unary(path + "Send")
both = channel.stream_stream(path + "Both")
wait = channel.unary_stream(path + "Wait")


def said(what):
    print(what, flush=True)


answer, call = unary.with_call(b"a", timeout=TIMEOUT, metadata=(("x-asked", "i"),))
assert answer == b"re: a", answer
assert dict(call.initial_metadata())["x-initial"] == "i"
assert dict(call.trailing_metadata())["x-trailing"] == "t"
assert dict(call.trailing_metadata())["x-raw-bin"] == b"\x00\xff"
said("unary")

try:
    unary(b"fail", timeout=TIMEOUT)
    sys.exit("it did not fail")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "as asked: \u00fc", error
said("status")

large = bytes(range(256)) * 16 * 1024
assert unary(large, timeout=TIMEOUT) == b"re: " + large
said("large")

assert list(receive(b"5000", timeout=TIMEOUT)) == [b"%d" % n for n in range(5000)]
said("receive")

total = send((b"x" * n for n in range(3000)), timeout=TIMEOUT)
assert total == b"%d" % sum(range(3000)), total
said("send")

asked = queue.Queue()
answers = both(iter(asked.get, None), timeout=TIMEOUT)
for number in range(500):
    asked.put(b"%d" % number)
    assert next(answers) == b"re: %d" % number
asked.put(None)
assert list(answers) == []
assert answers.code() == grpc.StatusCode.OK
said("both")

asked = queue.Queue()
answers = both(iter(asked.get, None), timeout=TIMEOUT)
asked.put(b"stop")
assert list(answers) == []
assert answers.code() == grpc.StatusCode.OK
asked.put(None)
said("early end")


def talk(number):
    sent = [b"%d/%d" % (number, n) for n in range(100)]
    assert list(both(iter(sent), timeout=TIMEOUT)) == [b"re: " + s for s in sent]


with futures.ThreadPoolExecutor(50) as pool:
    list(pool.map(talk, range(50)))
said("fifty at a time")

waiting = wait(b"", timeout=TIMEOUT)
assert next(waiting) == b"begun"
waiting.cancel()
try:
    next(waiting)
    sys.exit("it was not cancelled")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.CANCELLED, error
said("cancel")

waiting = wait(b"", timeout=0.5)
try:
    list(waiting)
    sys.exit("it did not run out of time")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
said("deadline")
