"""A stand-in for an OpenAI-compatible endpoint, over real HTTP, that answers rightly or wrongly as it is told."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-secret"


@dataclass
class StandIn:
    """What the stand-in says, and what it was asked."""

    address: str = ""
    explanation: str = "headlines about falling prices"
    mode: str = "right"  # right, nonsense, busy, later, never, forever, head, huge, moved, refused, broken
    busy: int = 0  # answers of 429 that come first
    right: set[str] = field(default_factory=set)  # the headlines that it picks
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    def content(self, body: dict[str, Any]) -> str:
        """The answer to a question: an explanation, or the numbers of the headlines that are right."""
        question = body["messages"][-1]["content"]
        if self.mode == "nonsense":
            return "[99, 'x'] <script>alert(1)</script>" if question.startswith("Description") else "\n \x07 42 !\n"
        if not question.startswith("Description"):
            return f"<think>It may be\nmany things.</think>\n**“{self.explanation}”**\nMore words."
        lines = re.findall(r"^(\d+)\. (.*)$", question, re.MULTILINE)
        return f"Not [1, x] but {json.dumps([int(n) for n, text in lines if text in self.right])}."


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Serve on a free port of this machine."""
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._answer()

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(body)
            state.keys.add(self.headers["Authorization"])
            if state.mode == "never":
                time.sleep(3)
            elif state.mode == "head":
                for _ in range(300):
                    self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                    time.sleep(0.01)
            elif state.mode == "moved":
                self._head(302, {"Location": state.address, "Content-Length": "0"})
            elif state.mode in ("forever", "huge"):
                self._head(200)
                piece = b" " * (1 if state.mode == "forever" else 1 << 16)
                for _ in range(1000):
                    self.wfile.write(piece)
                    time.sleep(0.01 if state.mode == "forever" else 0)
            elif state.busy or state.mode in ("busy", "later"):
                state.busy = max(0, state.busy - 1)
                self._head(429, {"Retry-After": "3600" if state.mode == "later" else "0"})
                self.wfile.write(b'{"error": {"message": "too\\u0007 many"}}')
            elif state.mode == "refused":
                self._head(401)
                self.wfile.write(b'{"error": {"message": "no key"}}')
            elif state.mode == "broken":
                self._head(200)
                self.wfile.write(b"<html>")
            else:
                self._head(200)
                answer = {"choices": [{"message": {"role": "assistant", "content": state.content(body)}}]}
                self.wfile.write(json.dumps(answer).encode())

        def _head(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
