# An HTTPS server and a client with blocking sockets: http.server and http.client over ssl.
import http.client, http.server, socket, ssl, sys, threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        body = ("%s %s from %d: %s" % (self.command, self.path, self.client_address[1], asked)).encode()
        self.send_response(203)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def serve():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def ask(port):
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    for line in sys.stdin:
        _, path, body = line.split()
        connection.request("POST", path, body=body)
        response = connection.getresponse()
        print(response.status, response.read().decode(), flush=True)


serve() if sys.argv[1] == "serve" else ask(int(sys.argv[2]))
