"""A gRPC server and client in all streaming shapes; messages are protobuf written by hand, or (shop) by Google's
library after descriptors/shop.binpb.

    peer.py serve [PORT]      prints its port
    peer.py call PORT SHAPE   unary, client, server, both, fail, gzip, slow, or all; shop; held, until release
"""
import pathlib
import sys
import threading
import time
from concurrent import futures

import grpc

RAW = {"request_serializer": bytes, "response_deserializer": bytes}


def text(number, value):
    """A field with a short text."""
    data = value.encode()
    return bytes([number << 3 | 2, len(data)]) + data


def said(request):
    """Field 1 of a request."""
    return request[2:].decode()


CART = {
    "customer": "Ada", "sessionToken": "AAEC/w==", "stock": {"apple": 3, "pear": -4}, "card": "4111",
    "currency": "EUR", "at": "2026-11-21T12:00:00.5Z", "byNumber": {"-7": {"name": "seven"}},
    "items": [
        {"name": "AB", "delta": -5, "code": 4294967295, "big": 18446744073709551615, "price": 0.1, "weight": -2.5,
         "sizes": [1, -2, 300], "accepted": ["USD", "EUR"], "gift": True, "serial": 42, "shift": -1,
         "balance": -9007199254740993, "tags": ["only"]},
        {"name": "nested", "inner": {"name": "inner", "inner": {"sizes": [7]}}},
    ],
}


def shop():
    """The messages of the shop."""
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString((pathlib.Path(__file__).parent / "descriptors/shop.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)

    def made(name, content):
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("remora.test." + name))
        return json_format.ParseDict(content, kind()).SerializeToString(deterministic=True)

    return made("Cart", CART), made("Receipt", {"id": "r-1", "first": CART["items"][0], "total": 7})


class Echo(grpc.GenericRpcHandler):
    released = threading.Event()

    def service(self, call):
        handlers = {
            "/remora.test.Echo/Unary": (grpc.unary_unary_rpc_method_handler, self.unary),
            "/remora.test.Echo/Client": (grpc.stream_unary_rpc_method_handler, self.client),
            "/remora.test.Echo/Server": (grpc.unary_stream_rpc_method_handler, self.server),
            "/remora.test.Echo/Both": (grpc.stream_stream_rpc_method_handler, self.both),
            "/remora.test.Echo/Slow": (grpc.unary_stream_rpc_method_handler, self.slow),
            "/remora.test.Echo/Held": (grpc.unary_stream_rpc_method_handler, self.held),
            "/remora.test.Echo/Release": (grpc.unary_unary_rpc_method_handler, self.release),
            "/remora.test.Shop/Order": (grpc.unary_unary_rpc_method_handler, lambda *_: shop()[1]),
            "/remora.test.Echo/Fail": (grpc.unary_unary_rpc_method_handler, self.fail),
        }
        found = handlers.get(call.method)
        return found and found[0](found[1], request_deserializer=bytes, response_serializer=bytes)

    def unary(self, request, _):
        return text(1, "hello " + said(request)) + b"\x10\x2a"

    def client(self, requests, _):
        return text(1, "+".join(said(request) for request in requests))

    def server(self, request, _):
        for number in range(3):
            yield text(1, f"{said(request)} {number}")

    def both(self, requests, _):
        for request in requests:
            yield text(1, "re: " + said(request))

    def slow(self, request, _):
        for number in range(2):
            yield text(1, f"part {number}")
            time.sleep(1.5)

    def held(self, request, _):
        yield text(1, "part 0")
        self.released.wait(60)
        yield text(1, "part 1")

    def release(self, request, _):
        self.released.set()
        return text(1, "released")

    def fail(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100%")


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Echo(),))
    print(server.add_insecure_port(f"127.0.0.1:{port}"), flush=True)
    server.start()
    server.wait_for_termination()


def call(port, shape):
    gzip = {"compression": grpc.Compression.Gzip}
    words = [text(1, word) for word in ("one", "two", "three")]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        shapes = {
            "unary": lambda: channel.unary_unary("/remora.test.Echo/Unary", **RAW)(words[0], timeout=5),
            "client": lambda: channel.stream_unary("/remora.test.Echo/Client", **RAW)(iter(words)),
            "server": lambda: list(channel.unary_stream("/remora.test.Echo/Server", **RAW)(words[0])),
            "both": lambda: list(channel.stream_stream("/remora.test.Echo/Both", **RAW)(iter(words))),
            "gzip": lambda: channel.unary_unary("/remora.test.Echo/Unary", **RAW)(text(1, "z" * 100), **gzip),
            "slow": lambda: list(channel.unary_stream("/remora.test.Echo/Slow", **RAW)(words[0])),
            "held": lambda: list(channel.unary_stream("/remora.test.Echo/Held", **RAW)(words[0])),
            "release": lambda: channel.unary_unary("/remora.test.Echo/Release", **RAW)(words[0]),
            "shop": lambda: channel.unary_unary("/remora.test.Shop/Order", **RAW)(shop()[0]),
            "fail": lambda: channel.unary_unary("/remora.test.Echo/Fail", **RAW)(words[0]),
        }
        alone = ("shop", "held", "release")
        for name in [name for name in shapes if name not in alone] if shape == "all" else [shape]:
            try:
                shapes[name]()
            except grpc.RpcError as error:
                print(error.code())


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
else:
    call(int(sys.argv[2]), sys.argv[3])
