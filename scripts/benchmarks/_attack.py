"""Attackers, for `trust`: what they send, the directory that vouches for them, and their connections.

What they send is of many kinds, each with its share; most of it differs from one request to the next. Their own
accounts are real: keys, signatures, and documents in a directory which names hosts that nobody may be made to ask.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from feedgen.serve.who.keys import K256
from tests.serve.accounts import Keypair, b64, document, plc
from tests.serve.parts import INTERACTIONS, SKELETON
from tests.serve.who.test_tokens import BAD, GOOD

TIMEOUT_S = 30.0
ACCOUNTS = 60
SILENT = 200  # connections that begin a request and never end it
HEADER = b'{"typ":"JWT","alg":"ES256K"}'
LETTERS = "abcXYZ019._-=%&/:#?"

# Where documents and DIDs of attackers would have us connect to; `{trap}` is a port of this machine that is watched.
PDS_HOSTS = [
    "https://127.0.0.1:{trap}",
    "http://127.0.0.1:{trap}",
    "https://localhost:{trap}",
    "https://[::1]:{trap}",
    "https://0x7f000001:{trap}",
    "https://2130706433",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1",
    "https://192.168.1.1",
    "https://user:password@127.0.0.1:{trap}",
    "https://router.local",
    "https://intranet",
    "https://attacker.invalid",
    "https://pds.attacker.example.com",
    "gopher://127.0.0.1:{trap}",
    "file:///etc/passwd",
]
WEB_HOSTS = [
    "127.0.0.1",
    "127.0.0.1%3A{trap}",
    "localhost%3A{trap}",
    "localhost",
    "169.254.169.254",
    "0x7f.1",
    "router.local",
    "intranet",
    "attacker.invalid",
    "attacker.example.com",
    "a.attacker.test:path",
]


@dataclass
class Target:
    did: str
    feed: str
    known: list[str]  # accounts of others, whose documents are good


class Trap:
    """A port of this machine where nobody may knock."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.knocks = 0
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            try:
                self._socket.accept()[0].close()
            except OSError:
                return
            self.knocks += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Proxy:
    """The operator's HTTP proxy: notes to whom it is to connect, and says that they can't be reached."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(TIMEOUT_S)
                words = connection.recv(4096).split(b" ")
                self.asked[words[1].decode() if words[0] == b"CONNECT" else repr(words[:2])] += 1
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Directory:
    """A PLC directory: attackers' documents from here, everybody else's from the one behind it."""

    def __init__(self, behind: str, trap: Trap) -> None:
        self.asked: list[float] = []
        self.accounts = {plc(f"attacker {n}"): Keypair(K256, 1000 + n) for n in range(ACCOUNTS)}
        self._documents: dict[str, bytes] = {}
        for n, (did, pair) in enumerate(self.accounts.items()):
            host = PDS_HOSTS[n % len(PDS_HOSTS)].format(trap=trap.port)
            service = [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": host}]
            self._documents[did] = json.dumps(document(did, pair.method(did), service=service)).encode()
        directory = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                directory.asked.append(time.monotonic())
                status, body, headers = directory._answer(behind, self.path.lstrip("/"), trap)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Callers may leave."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, behind: str, did: str, trap: Trap) -> tuple[int, bytes, dict[str, str]]:
        if did in self._documents:
            return 200, self._documents[did], {}
        if did.endswith("a"):  # some of the unknown: a directory gone mad, or taken over
            return 302, b"", {"location": f"http://127.0.0.1:{trap.port}/{did}"}
        try:
            with urllib.request.urlopen(f"{behind}/{did}", timeout=10) as answer:
                return 200, answer.read(), {}
        except OSError:
            return 404, b"{}", {}

    def most_in(self, seconds: float) -> int:
        """The most questions within any such time."""
        most, first = 0, 0
        for last, at_s in enumerate(self.asked):
            while self.asked[first] < at_s - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Hostile:
    """Requests without end: (kind, bytes, how many answers there should be)."""

    def __init__(self, target: Target, directory: Directory, trap: Trap, seed: int) -> None:
        self._target, self._trap = target, trap
        self._random = random.Random(seed)
        self._attackers = list(directory.accounts.items())
        table = (*GOOD.values(), *(text for text, _ in BAD.values()))
        self._table = [text for text in table if text.isascii() and len(text) < 12_000 and "\n" not in text]
        self._own = [(did, pair) for did, pair in self._attackers]
        self._signed: list[str] = []
        self._made = 0
        kinds: dict[str, tuple[float, Callable[[], bytes]]] = {
            "a token of the table": (20, lambda: self._page(self._one(self._table))),
            "a forged token of somebody real": (8, lambda: self._page(self._forged(self._one(target.known)))),
            "a forged token of nobody": (10, lambda: self._page(self._forged(self._anybody()))),
            "a forged token of a did:web": (8, lambda: self._page(self._forged(self._web()))),
            "an attacker's own token": (4, lambda: self._page(self._own_token())),
            "no token, any parameters": (14, self._parameters),
            "a cursor of no list": (6, lambda: self._page(None, f"&cursor={self._garbage(120)}")),
            "interactions": (8, self._interactions),
            "also-liked of any handle": (4, self._also_liked),
            "any path": (8, lambda: self._get("/" + self._garbage(200))),
            "what is private": (2, lambda: self._get(self._one(["/metrics", "/why", "/livez", "/status"]))),
            "a head too long": (1, lambda: self._get("/", f"x-y: {'a' * 20_000}\r\n")),
            "no HTTP": (2, self._bytes),
            "several at once": (1, lambda: self._get("/xrpc/_health") * 3),
        }
        self._kinds = list(kinds)
        self._makers = {kind: make for kind, (_, make) in kinds.items()}
        self._weights = [weight for weight, _ in kinds.values()]

    def __iter__(self) -> Iterator[tuple[str, bytes, int]]:
        while True:
            for kind in self._random.choices(self._kinds, self._weights, k=1000):
                yield kind, self._makers[kind](), 3 if kind == "several at once" else 1

    def _one(self, among: list[Any]) -> Any:
        return among[int(self._random.random() * len(among))]

    def _garbage(self, most: int) -> str:
        return "".join(self._random.choices(LETTERS, k=self._random.randrange(most)))

    def _address(self) -> str:
        """Half of them from a few addresses, half from one of their own."""
        n = self._random.randrange(1 << 24) if self._random.random() < 0.5 else self._random.randrange(8)
        return f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}"

    def _get(self, target: str, headers: str = "") -> bytes:
        head = f"GET {target} HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {self._address()}\r\n{headers}\r\n"
        return head.encode(errors="ignore")

    def _page(self, token: str | None, more: str = "") -> bytes:
        headers = "" if token is None else f"authorization: Bearer {token}\r\n"
        return self._get(f"{SKELETON}?feed={self._target.feed}&limit=5{more}", headers)

    def _parameters(self) -> bytes:
        feed = self._target.feed if self._random.random() < 0.5 else self._garbage(80)
        return self._get(f"{SKELETON}?feed={feed}&limit={self._random.randrange(-5, 130)}&{self._garbage(60)}")

    def _claims(self, did: str, method: str = "app.bsky.feed.getFeedSkeleton") -> bytes:
        self._made += 1
        now_s = int(time.time())
        claims = {"iss": did, "aud": self._target.did, "exp": now_s + 3000, "iat": now_s, "lxm": method}
        return json.dumps({**claims, "jti": f"{self._made}"}).encode()

    def _forged(self, did: str) -> str:
        signature = self._random.randbytes(64)
        return f"{b64(HEADER)}.{b64(self._claims(did))}.{b64(signature)}"

    def _anybody(self) -> str:
        return "did:plc:" + "".join(self._random.choices("abcdefghijklmnopqrstuvwxyz234567", k=24))

    def _web(self) -> str:
        host: str = self._one(WEB_HOSTS).format(trap=self._trap.port)
        return (
            f"did:web:{host}" if self._random.random() < 0.5 else f"did:web:x{self._random.randrange(1 << 30)}.{host}"
        )

    def _own_token(self, method: str = "app.bsky.feed.getFeedSkeleton") -> str:
        """Signing takes long: most are used again."""
        if method.endswith("Skeleton") and self._signed and self._random.random() < 0.95:
            return str(self._one(self._signed))
        did, pair = self._one(self._own)
        token: str = pair.token_of(HEADER, self._claims(did, method))
        if method.endswith("Skeleton"):
            self._signed = [*self._signed[-2000:], token]
        return token

    def _interactions(self) -> bytes:
        if self._random.random() < 0.8:
            token, body = self._one(self._table), self._garbage(2000)
        else:
            token = self._own_token("app.bsky.feed.sendInteractions")
            item = f"at://{self._one(self._target.known)}/app.bsky.feed.post/3k{self._random.randrange(10**11)}"
            event = self._one(["interactionSeen", "requestLess", "requestMore", "interactionLike", "unheardOf"])
            events = [{"item": item, "event": f"app.bsky.feed.defs#{event}", "reqId": self._garbage(60)}] * 20
            body = json.dumps({"interactions": events, "feed": self._target.feed})
        head = f"authorization: Bearer {token}\r\nx-forwarded-for: {self._address()}\r\ncontent-length: {len(body)}\r\n"
        return f"POST {INTERACTIONS} HTTP/1.1\r\nhost: x\r\n{head}\r\n{body}".encode()

    def _also_liked(self) -> bytes:
        host = self._one(WEB_HOSTS).format(trap=self._trap.port)
        return self._get(
            f"/also-liked?post=at://x{self._random.randrange(10**6)}.{host}/app.bsky.feed.post/3kabcdefghij2"
        )

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.randrange(1, 200)) + b"\r\n\r\n"


@dataclass
class Tally:
    sent: int = 0
    statuses: dict[str, Counter[int]] = field(default_factory=dict)  # by kind; 0: closed without an answer

    def add(self, kind: str, status: int) -> None:
        self.statuses.setdefault(kind, Counter())[status] += 1

    def count(self, status: int) -> int:
        return sum(counts[status] for counts in self.statuses.values())


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.transport: Any = None
        self._data = b""
        self._left = 0
        self._status = 0
        self._answer: asyncio.Future[int] | None = None

    async def ask(self, request: bytes, answers: int) -> int:
        """The last answer's status; 0 when the connection was closed first."""
        self._data, self._left, self._status = b"", answers, 0
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(TIMEOUT_S):
            return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(head.partition(b"content-length: ")[2].split(b"\r", 1)[0] or 0)
            if len(self._data) < end + 4 + length:
                return
            self._status = int(head[9:12])
            self._data = self._data[end + 4 + length :]
            self._left -= 1
            if b"connection: close" in head:
                self.transport.close()
            if self._left <= 0:
                self._done(self._status)

    def connection_lost(self, error: Exception | None) -> None:
        self._done(self._status)

    def _done(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class Attack:
    """Connections that ask as fast as they are answered, and others that never finish asking."""

    def __init__(self, hostile: Hostile, port: int, connections: int) -> None:
        self._requests, self._port, self._connections = iter(hostile), port, connections
        self._silent: list[asyncio.Task[None]] = []
        self.tally = Tally()
        self.cut_off = 0

    async def __aenter__(self) -> Attack:
        self._silent = [asyncio.create_task(self._say_half(n)) for n in range(SILENT)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for task in self._silent:
            task.cancel()
        await asyncio.gather(*self._silent, return_exceptions=True)

    async def send(self, until: int, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
        """Until so many were sent in all."""
        beside = asyncio.ensure_future(meanwhile()) if meanwhile is not None else None
        await asyncio.gather(*(self._ask_on(until) for _ in range(self._connections)))
        if beside is not None:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)

    async def _ask_on(self, until: int) -> None:
        connection: _Connection | None = None
        loop = asyncio.get_running_loop()
        while self.tally.sent < until:
            kind, request, answers = next(self._requests)
            self.tally.sent += answers
            if connection is None or connection.transport.is_closing():
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
            try:
                self.tally.add(kind, await connection.ask(request, answers))
            except TimeoutError:
                raise RuntimeError(f"no answer within {TIMEOUT_S} s to {kind}: {request[:300]!r}") from None
        if connection is not None:
            connection.transport.close()

    async def _say_half(self, n: int) -> None:
        """Slow-loris: a head that goes on for ever, or a connection on which nothing is said."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(1.0)
                continue
            reading = asyncio.ensure_future(reader.read())
            try:
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n" if n % 3 else b"")
                while not reading.done():
                    await asyncio.wait([reading], timeout=1.0)
                    if n % 3 == 1 and not writer.is_closing():
                        writer.write(b"x-a: b\r\n")
                self.cut_off += 1
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                writer.close()
