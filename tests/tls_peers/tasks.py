# An HTTPS server and a client with asyncio, whose TLS reads and writes memory, not sockets.
import asyncio, ssl, sys


async def message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head.split(b"\r\n")[0].decode(), (await reader.readexactly(length)).decode()


async def answer(reader, writer):
    port = writer.get_extra_info("peername")[1]
    try:
        while True:
            line, asked = await message(reader)
            method, path, _ = line.split()
            body = ("%s %s from %d: %s" % (method, path, port, asked)).encode()
            writer.write(b"HTTP/1.1 203 Mine\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
        writer.close()


async def serve():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def connect(port):
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=ssl._create_unverified_context(), ssl_handshake_timeout=100
    )


async def call(connection, path, asked):
    reader, writer = connection
    own = writer.get_extra_info("sockname")[1]
    head = "POST %s HTTP/1.1\r\nHost: x\r\nX-Port: %d\r\nContent-Length: %d\r\n\r\n" % (path, own, len(asked))
    writer.write((head + asked).encode())
    await writer.drain()
    line, body = await message(reader)
    assert body == "POST %s from %d: %s" % (path, own, asked), body
    return line.split()[1], body


async def many(port, count):
    connections = await asyncio.gather(*(connect(port) for _ in range(count)))
    for half in ("a", "b"):
        calls = (call(one, "/many/%d-%s" % (n, half), ("<%d%s>" % (n, half)) * (1 + n % 50)) for n, one in enumerate(connections))
        await asyncio.gather(*calls)
    for _, writer in connections:
        writer.close()


async def ask(port):
    loop, connection = asyncio.get_running_loop(), None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        kind, path, asked = line.split()
        if kind == "many":
            await many(port, int(path))
            print("done", flush=True)
        else:
            connection = connection or await connect(port)
            print(*await call(connection, path, asked), flush=True)


asyncio.run(serve() if sys.argv[1] == "serve" else ask(int(sys.argv[2])))
