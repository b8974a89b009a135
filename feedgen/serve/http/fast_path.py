"""The ordinary request, read and answered on a fast path: a GET, or a POST that says how long it is.

Nearly all requests are that, and hypercorn and h11 take 0.25 ms of the event loop for each, twice what the page takes.
Everything unusual is left to them: `parse` knows only what everybody who reads HTTP reads alike.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from starlette.types import Message, Scope

MAX_HEAD_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_BODY_BYTES: Final = 256 * 1024  # Caddy lets no longer one through

_REQUEST: Final = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n"  # no version but this
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n){1,64})\r\n"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,7}")
# What changes how a message or a connection is to be understood.
_SPECIAL: Final = frozenset(
    {b"expect", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"}
    | {b"upgrade"}
)


WAITED_S: Final = "feedgen.waited_s"


class Request(NamedTuple):
    """`missing` says how many bytes of the body have still to come."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    missing: int = 0


def parse(data: bytes) -> Request | None:
    """None for what is not an ordinary request, and exactly one. Its body may end later."""
    found = _REQUEST.match(data, 0, MAX_HEAD_BYTES)
    if found is None:
        return None
    headers, hosts, lengths, length = [], 0, 0, 0
    for line in found[3][:-2].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" ")
        if name in _SPECIAL or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        if name == b"content-length":
            if _LENGTH.fullmatch(value) is None:
                return None
            lengths, length = lengths + 1, int(value)
        hosts += name == b"host"
        headers.append((name, value))
    missing = length - (len(data) - found.end())
    # A GET has no body, and a POST says once how long its is. Nothing may follow.
    if hosts != 1 or lengths != (found[1] == b"POST") or missing < 0 or length > MAX_BODY_BYTES:
        return None
    return Request(found[1], found[2], headers, data[found.end() :], missing)


def scope_of(request: Request, client: Any, server: Any, waited_s: float = 0.0) -> Scope:
    """`waited_s` is how long the request lay before anybody looked at it."""
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": request.method.decode(),
        "scheme": "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers,
        "client": client,
        "server": server,
        "state": {WAITED_S: waited_s},
        "extensions": {},
    }


def waited_s_of(scope: Scope) -> float:
    """How long the request lay; 0 where nobody knows."""
    waited_s: float = scope.get("state", {}).get(WAITED_S, 0.0)
    return waited_s


class Answer:
    """Both ends of the conversation with the application; what it said leaves in one piece."""

    def __init__(self, body: bytes = b"") -> None:
        self._request_body = body
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._asked = False

    async def receive(self) -> Message:
        """The whole body; after that, nothing more will come."""
        if self._asked:
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": self._request_body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def to_bytes(self, close: bool) -> bytes:
        lines = [b"HTTP/1.1 %d " % self._status]
        for name, value in self._headers:
            if b"\n" in value or b"\r" in value:
                raise ValueError(f"a header of ours has two lines: {name!r}")
            if name != b"content-length":
                lines.append(b"%b: %b" % (name, value))
        lines.append(b"content-length: %d" % len(self._body))
        lines.append(_date(int(time.time())))
        if close:
            lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n" + self._body


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}".encode()
