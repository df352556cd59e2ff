"""A stock websocket client that has no device key. Run as a program inside a namespace; prints what came back as JSON.

    python stranger.py HOST PORT MODE [KEY]

``MODE``: ``silent`` says nothing; ``text`` sends a text frame; ``garbage`` sends bytes that are no frame; ``forged``
answers the hello with KEY (somebody else's public key, hexadecimal DER) and a signature of zeros; ``early`` sends a
message before any proof; ``large`` sends two mebibytes; ``elsewhere`` asks for another path; ``plain`` does not speak
TLS at all.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol


def speak(socket_: ClientConnection, mode: str, key: bytes, hello: dict[str, Any]) -> None:
    """Say what this mode says."""
    pack = msgspec.msgpack.encode
    match mode:
        case "text":
            socket_.send("hello?")
        case "garbage":
            socket_.send(b"\xc1\xff\x00 not a frame")
        case "large":
            socket_.send(bytes(2 * 1024 * 1024))
        case "early":
            event = {"id": bytes(16), "seq": 1, "prev": 0, "hlc": 1, "sent_at_ms": 1, "kind": "text", "text": "hi"}
            socket_.send(pack({"t": "notify", "events": [event]}))
        case "forged":
            mine = {
                **hello,
                "name": "mallory",
                "nonce": bytes(32),
                "instance": bytes(len(hello["instance"])),
                "key": key,
            }
            socket_.send(pack({**mine, "applied": 0}))
            socket_.send(pack({"t": "proof", "signature": bytes(64)}))
        case _:
            pass


def _frame(websocket: ClientConnection, timeout_s: float) -> dict[str, Any]:
    data = websocket.recv(timeout=timeout_s)
    assert isinstance(data, bytes), "a text frame"
    frame: dict[str, Any] = msgspec.msgpack.decode(data)
    return frame


def converse(host: str, port: int, mode: str, key: bytes) -> dict[str, Any]:
    """Connect, say it, and note every frame until the other side closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    shown = f"[{host}]" if ":" in host else host
    path = "/v1/other" if mode == "elsewhere" else "/v1/link"
    frames: list[dict[str, Any]] = []
    with connect(
        f"wss://{shown}:{port}{path}",
        ssl=context,
        subprotocols=[Subprotocol("p2pchat.v1")],
        compression=None,
        proxy=None,
        open_timeout=5,
        ping_interval=None,
    ) as websocket:
        try:
            frames.append(_frame(websocket, 5))
            speak(websocket, mode, key, frames[0])
            while True:
                frames.append(_frame(websocket, 15))
        except ConnectionClosed as closed:
            received = closed.rcvd
            said = [{"t": frame.get("t"), "code": frame.get("code"), "detail": frame.get("detail")} for frame in frames]
            return {"frames": said, "closed": True, "close_code": received.code if received else None}


def main() -> None:
    """Run one mode."""
    host, port, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    key = sys.argv[4] if len(sys.argv) > 4 else ""
    try:
        if mode == "plain":
            with socket.create_connection((host, port), timeout=15) as plain:
                plain.sendall(b"GET /v1/link HTTP/1.1\r\nHost: x\r\n\r\n")
                plain.settimeout(15)
                answer = plain.recv(4096)
                while plain.recv(4096):
                    pass
            result: dict[str, Any] = {"frames": [], "closed": True, "http": answer.startswith(b"HTTP")}
        else:
            result = converse(host, port, mode, bytes.fromhex(key))
    except ConnectionResetError:
        result = {"frames": [], "closed": True}
    except (WebSocketException, OSError) as error:
        result = {"frames": [], "closed": False, "error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
