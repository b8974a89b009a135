"""Readers in a process of their own, for `serve`: asks at a fixed rate, whether answers come or not.

Of ten requests six are pages, three tell what a reader saw of the page before, one is another; on pooled connections.
Reads one JSON object a line from stdin and answers each with one: the first says who asks whom, the others are phases.
Tokens are signed before a phase begins, one for each request, as the AppView sends them. A request's time counts from
when it was due, so that a server that stands still is not asked less.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import coincurve
import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec

from feedgen.simnet import tokens
from scripts.benchmarks.flood.plan import FloodPlan

TIMEOUT_S = 5.0  # the AppView's
PDS_TIMEOUT_S = 10.0  # what apps tell comes from a PDS, which waits longer and never sends it again
MAX_CONNECTIONS = 950  # the service takes 1,000; who finds none free waits, as at a proxy
TOKEN_S = 3000
LIMIT = 30
PAGES, TOLD = 0.6, 0.3  # of all requests; the rest ask for documents
SEEN = 10  # posts of a page, in one call: what an app has seen after ten seconds
OTHERS = ("/.well-known/did.json", "/xrpc/app.bsky.feed.describeFeedGenerator")


class Item(msgspec.Struct):
    post: str
    feedContext: str = ""


class Page(msgspec.Struct):
    feed: list[Item]
    cursor: str | None = None
    reqId: str = ""


decode_page = msgspec.json.Decoder(Page).decode


@dataclass
class Config:
    port: int
    feed: str
    audience: str
    seed: int
    people: int
    readers: int
    first_share: float


class Signer:
    """Tokens as simnet makes them; with libsecp256k1, because a load needs many."""

    def __init__(self, config: Config) -> None:
        self.audience = config.audience
        plan = FloodPlan(seed=config.seed, people=config.people)
        people = random.Random(config.seed).sample(range(config.people), config.readers)
        self.dids = [plan.did(person) for person in people]
        self.keys = [plan.signing_key(person) for person in people]
        self._fast = [
            coincurve.PrivateKey.from_int(key.private_numbers().private_value)
            if isinstance(key.curve, ec.SECP256K1)
            else None
            for key in self.keys
        ]
        self._made = 0

    def token(self, reader: int, method: str = tokens.GET_FEED_SKELETON) -> bytes:
        self._made += 1
        now_s = time.time()
        key, fast, jti = self.keys[reader], self._fast[reader], f"{self._made:x}"
        if fast is None:
            did = self.dids[reader]
            token = tokens.service_token(did, key, self.audience, method, now_s=now_s, lifetime_s=TOKEN_S, jti=jti)
            return token.encode()
        claims = {
            "iss": self.dids[reader],
            "aud": self.audience,
            "iat": int(now_s),
            "exp": int(now_s + TOKEN_S),
            "lxm": method,
            "jti": jti,
        }
        signed = _HEAD + b"." + _b64(json.dumps(claims, separators=(",", ":")).encode())
        return signed + b"." + _b64(fast.sign_recoverable(hashlib.sha256(signed).digest(), None)[:64])


def _request(method: str, path: str, token: bytes, more: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: feed\r\nuser-agent: BskyAppView".encode()
    return head + more + (b"\r\nauthorization: Bearer " + token if token else b"") + b"\r\n\r\n"


def _told(page: Page, feed: str) -> bytes:
    """What an app says ten seconds after a page."""
    event = "app.bsky.feed.defs#interactionSeen"
    seen = [
        {"item": one.post, "event": event, "feedContext": one.feedContext, "reqId": page.reqId}
        for one in page.feed[:SEEN]
    ]
    return msgspec.json.encode({"interactions": seen, "feed": feed})


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


_HEAD = _b64(b'{"typ":"JWT","alg":"ES256K"}')


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.got: Callable[[int, bytes], None] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        at = head.find(b"content-length: ") + 16
        length = int(head[at:].split(b"\r", 1)[0])
        if len(self._data) >= end + 4 + length:
            body, self._data = self._data[end + 4 : end + 4 + length], b""
            self._done(int(head[9:12]), body)

    def connection_lost(self, error: Exception | None) -> None:
        self._done(0, b"")

    def _done(self, status: int, body: bytes) -> None:
        got, self.got = self.got, None
        if got is not None:
            got(status, body)


@dataclass
class Tally:
    times_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    files: int = 0  # pages that Caddy answered from the VPS's files, in the service's place
    first: int = 0
    items: int = 0
    sent: int = 0  # of all kinds
    pages: int = 0
    answered: int = 0


class Load:
    def __init__(self, config: Config) -> None:
        self.config, self.signer = config, Signer(config)
        self.random = random.Random(config.seed)
        self.idle: list[Connection] = []
        self.free = asyncio.Semaphore(MAX_CONNECTIONS)
        self.waiting: deque[tuple[int, str]] = deque(maxlen=20_000)  # (reader, cursor): pages that may come next
        self.seen: deque[tuple[int, bytes]] = deque(maxlen=20_000)  # (reader, what their app will tell)
        self.tokens: dict[int, list[bytes]] = {}
        self.order: list[int] = []

    def prepare(self, requests: int) -> None:
        """Who asks for a first page, in order, and enough tokens for each."""
        firsts = int(requests * self.config.first_share * 1.3) + 50
        self.order = [self.random.randrange(self.config.readers) for _ in range(firsts)]
        for reader in self.order:
            have = self.tokens.setdefault(reader, [])
            have += [self.signer.token(reader) for _ in range(2 if self.random.random() < 0.75 else 3)]

    async def phase(self, rate: float, seconds: float) -> dict[str, Any]:
        self.prepare(int(rate * seconds))
        tally, tasks = Tally(), set[asyncio.Task[None]]()
        cpu_s, start_s = time.process_time(), time.perf_counter()
        due_s = start_s
        while due_s < start_s + seconds:
            wait_s = due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.ensure_future(self._one(due_s, tally))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            tally.sent += 1
            due_s += self.random.expovariate(rate / PAGES)
        took_s, cpu_s = time.perf_counter() - start_s, time.process_time() - cpu_s
        if tasks:
            await asyncio.wait(tasks, timeout=PDS_TIMEOUT_S + 1)
        return self._report(tally, took_s, cpu_s) | {"asked_rate": rate}

    def _report(self, tally: Tally, took_s: float, cpu_s: float) -> dict[str, Any]:
        times = sorted(tally.times_s)

        def at(share: float) -> float:
            return times[min(int(share * len(times)), len(times) - 1)] * 1000 if times else float("nan")

        return {
            "sent": tally.sent,
            "pages": tally.pages,
            "rate": tally.pages / took_s,
            "all_rate": tally.sent / took_s,
            "answered": tally.answered,
            "first": tally.first,
            "items": tally.items / max(len(times), 1),
            "errors": dict(tally.errors),
            "files": tally.files,
            "p50_ms": at(0.5),
            "p90_ms": at(0.9),
            "p99_ms": at(0.99),
            "max_ms": at(1.0),
            "took_s": took_s,
            "cpu_ms": cpu_s * 1000 / max(tally.sent, 1),
        }

    async def _one(self, due_s: float, tally: Tally) -> None:
        kind = self.random.random()
        if kind < PAGES:
            await self._page(due_s, tally)
            return
        if kind < PAGES + TOLD and self.seen:
            reader, body = self.seen.popleft()
            token = self.signer.token(reader, tokens.SEND_INTERACTIONS)
            timeout_s = PDS_TIMEOUT_S
            length = b"\r\ncontent-type: application/json\r\ncontent-length: %d" % len(body)
            request = _request("POST", f"/xrpc/{tokens.SEND_INTERACTIONS}", token, length) + body
        else:
            timeout_s, request = TIMEOUT_S, _request("GET", self.random.choice(OTHERS), b"")
        status, _ = await self._ask(request, timeout_s)
        tally.answered += 1
        if status != 200:
            tally.errors[f"{'told' if kind < PAGES + TOLD else 'other'} {status or 'no answer'}"] += 1

    async def _page(self, due_s: float, tally: Tally) -> None:
        first = self.random.random() < self.config.first_share or not self.waiting
        if first and self.order:
            reader, cursor = self.order.pop(), ""
        elif self.waiting:
            reader, cursor = self.waiting.popleft()
        else:
            reader, cursor = self.random.randrange(self.config.readers), ""
        tally.first += not cursor
        tally.pages += 1
        have = self.tokens.setdefault(reader, [])
        token = have.pop() if have else self.signer.token(reader)
        query = f"feed={self.config.feed}&limit={LIMIT}" + (f"&cursor={cursor}" if cursor else "")
        path = f"/xrpc/{tokens.GET_FEED_SKELETON}?{query}"
        status, body = await self._ask(_request("GET", path, token, b"\r\naccept-language: en"))
        tally.times_s.append(time.perf_counter() - due_s)
        tally.answered += 1
        if status != 200:
            tally.errors[str(status) if status else "no answer"] += 1
            return
        page = decode_page(body)
        if not page.reqId:
            tally.files += 1
            return
        tally.items += len(page.feed)
        if not page.feed:
            tally.errors["empty"] += 1
            return
        self.seen.append((reader, _told(page, self.config.feed)))
        if page.cursor:
            self.waiting.append((reader, page.cursor))

    async def _ask(self, request: bytes, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
        """(status, body); status 0 when there was none in time."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connection()
                answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

                def got(status: int, body: bytes) -> None:
                    if not answer.done():
                        answer.set_result((status, body))

                connection.got = got
                connection.transport.write(request)
                status, body = await answer
        except (TimeoutError, OSError):
            status, body = 0, b""
        if connection is not None:
            self.free.release()
            if status:
                self.idle.append(connection)
            else:
                connection.transport.abort()
        return status, body

    async def _connection(self) -> Connection:
        await self.free.acquire()
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                return connection
        try:
            _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.config.port)
        except BaseException:
            self.free.release()
            raise
        return made


async def main() -> None:
    load = Load(Config(**json.loads(sys.stdin.readline())))
    keys = [tokens.multikey(key.public_key()) for key in load.signer.keys]
    print(json.dumps({"dids": load.signer.dids, "keys": keys}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["port"] != load.config.port:
            load.seen.clear()
            load.waiting.clear()  # another process: it would have to make every list anew
            load.config.port = asked["port"]
        print(json.dumps(await load.phase(asked["rate"], asked["seconds"])), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
