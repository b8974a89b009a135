"""The ordinary request, read and answered without ceremony: a GET, whole in one piece, with nothing unusual in it.

Nearly all requests are that, and hypercorn and h11 take 0.25 ms of the event loop for each, twice what the page takes.
Whatever is in the least unusual is left to them: `parse` knows only what everybody who reads HTTP reads alike.
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

_REQUEST: Final = re.compile(
    rb"GET (/[!-~]*) HTTP/1\.1\r\n"  # no version but this, no method that could have a body
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n){1,64})\r\n"
)
# What changes how a message or a connection is to be understood.
_SPECIAL: Final = frozenset(
    {b"content-length", b"expect", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"trailer"}
    | {b"transfer-encoding", b"upgrade"}
)


WAITED_S: Final = "feedgen.waited_s"


class Request(NamedTuple):
    target: bytes
    headers: list[tuple[bytes, bytes]]


def parse(data: bytes) -> Request | None:
    """None for what is not an ordinary request, and exactly one."""
    found = _REQUEST.fullmatch(data) if len(data) <= MAX_HEAD_BYTES else None
    if found is None:
        return None
    headers, hosts = [], 0
    for line in found[2][:-2].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" ")
        if name in _SPECIAL or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        hosts += name == b"host"
        headers.append((name, value))
    return Request(found[1], headers) if hosts == 1 else None


def scope_of(request: Request, client: Any, server: Any, waited_s: float = 0.0) -> Scope:
    """`waited_s` is how long the request lay before anybody looked at it."""
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": "GET",
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

    def __init__(self) -> None:
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._asked = False

    async def receive(self) -> Message:
        """A body that is empty; after that, nothing more will come."""
        asked, self._asked = self._asked, True
        return {"type": "http.disconnect"} if asked else {"type": "http.request", "body": b"", "more_body": False}

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
