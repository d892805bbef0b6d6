# TLS servers and a client for the capture tests, in Python's ways to do TLS.
import asyncio, signal, socket, ssl, sys, threading

kind = sys.argv[1]


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    return context


def listen():
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    return listener


def echo(conn):
    """Answers one HTTP request with its own body, or a line with what it asked."""
    try:
        with conn:
            data = b""
            while b"\r\n\r\n" not in data:
                more = conn.recv(65536)
                if not more:
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            while len(body) < length:
                body += conn.recv(65536)
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            conn.sendall(head + body)
    except (OSError, ssl.SSLError):
        pass


def sync():
    context, listener = server_context(), listen()

    def handle(raw):
        try:
            conn = context.wrap_socket(raw, server_side=True)
        except (OSError, ssl.SSLError):
            return
        echo(conn)

    def lines(raw):
        conn = context.wrap_socket(raw, server_side=True)
        while True:
            data = conn.recv(4096)
            if not data:
                return
            conn.sendall(b"echo " + data)

    while True:
        raw, _ = listener.accept()
        # A client of ours says in the clear that it wants lines.
        peek = raw.recv(1, socket.MSG_PEEK)
        if peek == b"L":
            raw.recv(1)
            threading.Thread(target=lines, args=(raw,), daemon=True).start()
        else:
            threading.Thread(target=handle, args=(raw,), daemon=True).start()


def ask():
    raw = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    raw.sendall(b"L")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    conn = context.wrap_socket(raw)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    conn.sendall(b"first")
    conn.recv(4096)
    print(conn.getsockname()[1], flush=True)
    while True:
        signal.sigwait([signal.SIGUSR1])
        conn.sendall(b"again")
        conn.recv(4096)


async def answer(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.01)
        port = writer.get_extra_info("peername")[1]
        body = b"client port %d." % port
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
        pass


async def asynchronous():
    server = await asyncio.start_server(answer, sock=listen(), ssl=server_context(), backlog=512)
    await server.serve_forever()


if kind == "sync":
    sync()
elif kind == "ask":
    ask()
else:
    asyncio.run(asynchronous())
