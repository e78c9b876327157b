"""A client of Foxglove's WebSocket protocol, as small as tests need it."""

import base64
import json
import os
import socket
import struct
import time


class FoxgloveClient:
    """Knows the channels that a server advertises; subscribes to them and reads messages."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: foxglove.sdk.v1, foxglove.websocket.v1\r\n\r\n".encode()
        )
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._socket.recv(4096)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert b" 101 " in head.splitlines()[0]
        self.channels: dict[str, dict] = {}

    def channel(self, topic: str) -> dict:
        while topic not in self.channels:
            self._next()
        return self.channels[topic]

    def subscribe(self, topic: str, number: int) -> None:
        self.channel(topic)
        time.sleep(0.2)  # the server may advertise a channel a moment before it knows it
        subscription = {"id": number, "channelId": self.channel(topic)["id"]}
        self._send({"op": "subscribe", "subscriptions": [subscription]})

    def unsubscribe(self, number: int) -> None:
        self._send({"op": "unsubscribe", "subscriptionIds": [number]})

    def message(self) -> tuple[int, bytes]:
        """The number of a subscription, and CDR."""
        while True:
            found = self._next()
            if found is not None:
                return found

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> tuple[int, bytes] | None:
        opcode, data = self._frame()
        if opcode == 1:
            said = json.loads(data)
            if said["op"] == "advertise":
                self.channels |= {channel["topic"]: channel for channel in said["channels"]}
        elif opcode == 2 and data[0] == 1:
            return struct.unpack_from("<I", data, 1)[0], data[13:]
        return None

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        length = second & 127
        if length > 125:
            width, code = {126: (2, ">H"), 127: (8, ">Q")}[length]
            (length,) = struct.unpack(code, self._take(width))
        return first & 15, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = self._socket.recv(65536)
            assert more, "the server hung up"
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _send(self, words: dict) -> None:
        data = json.dumps(words).encode()
        length = (
            bytes([128 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        )
        mask = os.urandom(4)
        masked = bytes(value ^ mask[k % 4] for k, value in enumerate(data))
        self._socket.sendall(b"\x81" + length + mask + masked)
