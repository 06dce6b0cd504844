"""A server of OpenAI's chat completions on this machine, whose replies a test makes and whose requests it reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Seen:
    """What the server was sent: paths, headers, bodies."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []


@contextmanager
def server(reply: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[tuple[str, Seen]]:
    """reply(handler, number of the request from 0) answers."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.bodies.append(json.loads(body))
            seen.keys.append(self.headers["Authorization"])
            seen.paths.append(self.path)
            reply(self, len(seen.bodies) - 1)

        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}/v1", seen
    finally:
        running.shutdown()
        running.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, data: bytes | str) -> None:
    data = data.encode() if isinstance(data, str) else data
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def completion(content: object) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})
