"""What stands between the internet and a feed, as Caddy or a VPS does, and a memory of all that was said.

It has its port before anything else starts, so that the feed's identity can name it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import httpx

DID_PATH = "/.well-known/did.json"
PASSED_ON = ("authorization", "accept", "accept-language", "content-type", "user-agent")


@dataclass(frozen=True)
class Exchange:
    method: str  # the last part of the path
    query: dict[str, str]
    asked: dict[str, str]
    sent: bytes
    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Front:
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.feed_url = ""  # set when the feed listens
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front.handle(self, b"")

            def do_POST(self) -> None:
                front.handle(self, self.rfile.read(int(self.headers.get("content-length", 0))))

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Callers may leave."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://localhost:{self.port}"
        self.did_web = f"did:web:localhost%3A{self.port}"
        self._client = httpx.Client(timeout=60, trust_env=False)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._client.close()

    def handle(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        url = httpx.URL(self.feed_url + request.path) if self.feed_url else None
        if request.path == DID_PATH:
            # On localhost there is no certificate, so its document says http.
            service = {"id": "#bsky_fg", "type": "BskyFeedGenerator", "serviceEndpoint": self.url}
            answer = httpx.Response(200, json={"id": self.did_web, "service": [service]})
        elif url is None:
            answer = httpx.Response(503, json={"error": "NotYet"})
        else:
            headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
            answer = self._client.request(request.command, url, content=body or None, headers=headers)
            self._remember(request, url, body, answer)
        request.send_response(answer.status_code)
        for name in ("content-type", "content-language", "cache-control"):
            if name in answer.headers:
                request.send_header(name, answer.headers[name])
        request.send_header("content-length", str(len(answer.content)))
        request.end_headers()
        request.wfile.write(answer.content)

    def _remember(self, request: BaseHTTPRequestHandler, url: httpx.URL, body: bytes, answer: httpx.Response) -> None:
        asked = {name.lower(): value for name, value in request.headers.items()}
        exchange = Exchange(
            url.path.rpartition("/")[2],
            dict(url.params),
            asked,
            body,
            answer.status_code,
            answer.headers.get("content-type", ""),
            answer.content,
        )
        self.exchanges.append(exchange)

    def answers(self, method: str) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.method == method]
