"""Records real peers as conversations (see daemon/engine/dissect/conversation.rs).

    record.py OUT.conv "remark" PORT COMMAND...

A relay on a port of its own stands between COMMAND (with {port} replaced) and the server on PORT of
127.0.0.1, and writes what passes on the first connection, one line per read.
"""
import selectors
import socket
import subprocess
import sys


def relay(listener, port, command, out):
    peer = subprocess.Popen([part.replace("{port}", str(listener.getsockname()[1])) for part in command])
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", port))
    ways = {client: (server, ">x "), server: (client, "<x ")}
    selector = selectors.DefaultSelector()
    for end in ways:
        selector.register(end, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            to, mark = ways[key.fileobj]
            data = key.fileobj.recv(65536)
            if data:
                out.write(mark + data.hex() + "\n")
                to.sendall(data)
                continue
            selector.unregister(key.fileobj)
            try:
                to.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            if key.fileobj is client:
                selector.close()
                out.write("! close\n")
                peer.wait()
                return
    out.write("! close\n")
    peer.wait()


def main():
    path, remark, port, *command = sys.argv[1:]
    with socket.create_server(("127.0.0.1", 0)) as listener, open(path, "w") as out:
        out.write(f"# {remark}\n")
        relay(listener, int(port), command, out)


main()
