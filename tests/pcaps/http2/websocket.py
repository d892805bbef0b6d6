"""Both ends of a WebSocket over HTTP/2 extended CONNECT (RFC 8441), made by h2 and wsproto, as a conversation.

    pip install h2 wsproto; websocket.py > websocket.conv
"""
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded
from h2.settings import SettingCodes
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate

out = ["# h2 and wsproto: a WebSocket over HTTP/2 (RFC 8441), with a GET beside it"]
client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
server.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1


def move():
    """Carries what both sides have to say, until they are silent."""
    events = {client: [], server: []}
    for _ in range(4):
        for source, target, mark in ((client, server, ">x "), (server, client, "<x ")):
            data = source.data_to_send()
            if data:
                out.append(mark + data.hex())
                events[target] += target.receive_data(data)
    return events


client.initiate_connection()
server.initiate_connection()
move()
client.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat?room=1"),
                        (":authority", "example.test"), ("sec-websocket-version", "13"),
                        ("sec-websocket-protocol", "soap"),
                        ("sec-websocket-extensions", "permessage-deflate")])
move()
server.send_headers(1, [(":status", "200"), ("sec-websocket-protocol", "soap"),
                        ("sec-websocket-extensions", "permessage-deflate")])
move()
deflate = [PerMessageDeflate(), PerMessageDeflate()]
for extension in deflate:
    extension._enabled = True
up = Connection(ConnectionType.CLIENT, extensions=[deflate[0]])
down = Connection(ConnectionType.SERVER, extensions=[deflate[1]])


def say(sender, h2, event):
    h2.send_data(1, sender.send(event))
    move()


say(up, client, TextMessage(data="the price of item number 1"))
say(down, server, TextMessage(data="echo of the price of item number 1"))
client.send_headers(3, [(":method", "GET"), (":scheme", "http"), (":path", "/beside"), (":authority", "example.test")],
                    end_stream=True)
move()
server.send_headers(3, [(":status", "204")], end_stream=True)
move()
say(up, client, TextMessage(data="the price of ", message_finished=False))
say(up, client, TextMessage(data="item number 2"))
say(down, server, BytesMessage(data=bytes(range(200, 240))))
say(down, server, Ping(payload=b"there"))
say(up, client, CloseConnection(code=1000, reason="done"))
client.end_stream(1)
move()
say(down, server, CloseConnection(code=1000, reason="done"))
server.end_stream(1)
move()
out.append("! close")
print("\n".join(out))
