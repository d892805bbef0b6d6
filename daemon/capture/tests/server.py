"""A server that answers each connection with the pid of the process that handled it."""
import os
import socket
import subprocess
import sys


def answer(connection):
    connection.recv(65536)
    body = str(os.getpid()).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    connection.close()


kind = sys.argv[1]
if kind == "child":
    answer(socket.socket(fileno=int(sys.argv[2])))
    sys.exit(0)

# The source of this script, for the exec'ed child.
source = open("/proc/self/cmdline").read().split("\0")[2]
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
parent = os.getpid()
if kind == "prefork" and os.fork() == 0:
    # The worker must not outlive the test.
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
    while True:
        answer(listener.accept()[0])
print(listener.getsockname()[1], flush=True)
while True:
    if kind == "prefork":
        os.wait()
    connection, _ = listener.accept()
    if kind == "handover":
        fd = connection.fileno()
        subprocess.run([sys.executable, "-c", source, "child", str(fd)], pass_fds=[fd])
        connection.close()
    else:
        answer(connection)
