"""Trust: what it costs to know who asks, beside the atproto SDK's verifier; and hostile requests, with memory around.

Tokens are signed beforehand and each is new; keys are in memory, as for a known reader. `trust.remembered_us` is the
same token again. Hostile requests go over real sockets to the real application: tokens from the table of attacks,
garbage for queries, cursors and bodies. Memory is this process's own, which holds both ends.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from atproto_server.auth.jwt import verify_jwt

from feedgen.core.clock import SystemClock
from feedgen.serve.auth import SKELETON_METHODS
from feedgen.serve.http import make_app
from feedgen.serve.keys import K256, P256, SigningKey
from feedgen.serve.limits import Limits, Rate
from feedgen.serve.server import Server
from feedgen.serve.tokens import TokenVerifier
from tests.serve.accounts import CODECS, Keypair, base58, plc
from tests.serve.parts import FEED_URI, INTERACTIONS, SERVICE, SKELETON, parts_with
from tests.serve.test_tokens import BAD, GOOD, Keys

from . import Figure, Params

PARAMETERS = {"tokens": 2_000, "hostile": 20_000, "connections": 8, "seed": 1}

READER = plc("reader")
PLENTY = Rate(per_s=1e9, burst=10**9)


class OneKey:
    def __init__(self, key: SigningKey) -> None:
        self._key = key

    async def key(self, did: str) -> SigningKey:
        return self._key

    async def fresher_key(self, did: str) -> SigningKey | None:
        return self._key


def run(params: Params) -> Iterator[Figure]:
    for algorithm, name in ((K256, "k256"), (P256, "p256")):
        yield from _verifying(Keypair(algorithm, 11), name, int(params["tokens"]))
    yield from asyncio.run(_hostile(int(params["hostile"]), int(params["connections"]), int(params["seed"])))


def _verifying(pair: Keypair, name: str, n: int) -> Iterator[Figure]:
    now_s = int(time.time())
    claims = {"iss": READER, "aud": SERVICE.did, "exp": now_s + 3000, "iat": now_s, "lxm": "app.bsky.feed.getFeed"}
    # The SDK refuses a high S.
    tokens = [pair.token({**claims, "jti": f"{i}"}, high_s=False) for i in range(n)]
    ours = TokenVerifier(SERVICE.did, OneKey(pair.public), SystemClock())

    async def verify(some: list[str]) -> float:
        start_s = time.process_time()
        for token in some:
            assert await ours.verify(token, SKELETON_METHODS) == READER
        return (time.process_time() - start_s) / len(some) * 1e6

    yield Figure(f"trust.verify_{name}_us", asyncio.run(verify(tokens)), "us", "CPU a new token, key in memory")
    yield Figure(f"trust.remembered_{name}_us", asyncio.run(verify(tokens[-1000:])), "us", "CPU, verified before")
    key = "did:key:z" + base58(CODECS[pair.algorithm] + pair.point())
    start_s = time.process_time()
    for token in tokens:
        verify_jwt(token, lambda did, fresh: key, SERVICE.did)
    yield Figure(f"trust.sdk_{name}_us", (time.process_time() - start_s) / n * 1e6, "us", "CPU, the SDK's verifier")


async def _hostile(n: int, connections: int, seed: int) -> list[Figure]:
    clock = SystemClock()
    parts = parts_with(clock=clock, limits=Limits(clock, reader=PLENTY, anonymous=PLENTY, bad_token=PLENTY))
    server = Server(make_app(replace(parts, verifier=TokenVerifier(SERVICE.did, Keys(), clock))), ["127.0.0.1:0"])
    await server.start()
    statuses: Counter[int] = Counter()
    made = _requests(random.Random(seed))
    await _ask_all(server.port, [next(made) for _ in range(2_000)], connections, Counter())  # warm
    before, start_s = _memory(), time.monotonic()
    left = n
    while left > 0:
        some = [next(made) for _ in range(min(left, 2_000))]
        await _ask_all(server.port, some, connections, statuses)
        left -= len(some)
    took_s, after = time.monotonic() - start_s, _memory()
    await server.stop(1.0)
    told = ", ".join(f"{status or 'closed'}: {count}" for status, count in sorted(statuses.items()))
    wrong = sum(count for status, count in statuses.items() if status == 500)
    return [
        Figure("trust.hostile_requests", n, "requests", told),
        Figure("trust.hostile_500", wrong, "requests", "answers that are a bug of ours"),
        Figure("trust.hostile_rate", n / took_s, "requests/s", "both ends in one process"),
        Figure("trust.memory_before_mb", before / 1e6, "MB", "after 2,000 to warm up"),
        Figure("trust.memory_after_mb", after / 1e6, "MB"),
    ]


def _memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _requests(rng: random.Random) -> Iterator[bytes]:
    tokens = [text for text in (*GOOD.values(), *(text for text, _ in BAD.values())) if text.isascii()]
    tokens = [text for text in tokens if len(text) < 20_000 and "\n" not in text]
    letters = "abcXYZ019._-=%&/:#?"

    def garbage(most: int) -> str:
        return "".join(rng.choices(letters, k=rng.randrange(most)))

    while True:
        kind, head = rng.random(), "host: x\r\nconnection: close\r\n"
        token = rng.choice(tokens) if rng.random() < 0.7 else garbage(300)
        head += f"authorization: Bearer {token}\r\nx-forwarded-for: 10.0.{rng.randrange(256)}.{rng.randrange(256)}\r\n"
        if kind < 0.6:
            target = f"{SKELETON}?feed={FEED_URI}&limit={rng.randrange(-5, 120)}&cursor={garbage(80)}"
            yield f"GET {target} HTTP/1.1\r\n{head}\r\n".encode()
        elif kind < 0.8:
            body = garbage(2000) if rng.random() < 0.5 else '{"interactions":[' + "[" * rng.randrange(2000)
            yield f"POST {INTERACTIONS} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n{body}".encode()
        elif kind < 0.95:
            yield f"GET /{garbage(200)} HTTP/1.1\r\n{head}\r\n".encode()
        else:
            yield bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200))) + b"\r\n\r\n"


async def _ask_all(port: int, requests: list[bytes], connections: int, statuses: Counter[int]) -> None:
    waiting = iter(requests)

    async def work() -> None:
        for request in waiting:
            statuses[await _ask(port, request)] += 1

    await asyncio.gather(*(work() for _ in range(connections)))


async def _ask(port: int, request: bytes) -> int:
    """The status; 0 when the connection was closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    with suppress(ConnectionError):
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(30):
            while piece := await reader.read(65536):
                received += piece
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return int(received[9:12]) if received[:5] == b"HTTP/" else 0
