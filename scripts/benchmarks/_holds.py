"""How long one legal request holds the event loop at most.

    python -m scripts.benchmarks._holds FILE run --set ...

is `feedgen`, with a note in FILE of the longest turn of its event loop that served a connection, in CPU time of its
thread, so that others on the machine don't count. uvloop is left out, since it tells nobody of its turns; what is done
in one is the same without it.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import runpy
import struct
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from feedgen.simnet import tokens
from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params
from scripts.benchmarks._service import AUDIENCE, FEED, PUBLISHER, Service, stopping

EVENTS = "app.bsky.feed.defs#"
MOST = 1000  # interactions in a call
TIMES = 5  # each; the least of these is what the request costs, the rest is the machine's
SECONDS = struct.Struct("d")


def longest(params: Params, folder: Path) -> Iterable[Figure]:
    note = folder / "longest"
    note.write_bytes(SECONDS.pack(0.0))
    with SimnetProcess("--people", "300", "--days", "1", "--rate", "1", "--wait", "--lookback-h", "-1") as network:
        program = (sys.executable, "-m", __name__, str(note))
        more = {"web.public": "true", "appview.url": network.urls.appview}
        service = Service(folder, network.urls.jetstream[0], network.urls.plc, program=program, more=more)
        with stopping(service):
            service.live()
            asked = _Asked(service, network, note)
            times_ms = {name: min(asked.time_ms(ask) for _ in range(TIMES)) for name, ask in asked.all().items()}
    worst = max(times_ms, key=lambda name: times_ms[name])
    each = ", ".join(f"{name} {ms:.1f}" for name, ms in times_ms.items())
    yield Figure("serve.longest_hold_ms", times_ms[worst], "ms", f"{worst}; each: {each}")


class _Asked:
    """The largest legal requests."""

    def __init__(self, service: Service, network: SimnetProcess, note: Path) -> None:
        self._base, self._network, self._note, self._made = f"http://127.0.0.1:{service.port}", network, note, 0
        self._reader: int = network.control("readers?k=1")[0]["person"]
        self._did: str = network.control("readers?k=1")[0]["did"]
        self._posts: list[str] = []
        while not json.loads(self._page("popular", "&limit=1"))["feed"]:
            time.sleep(0.5)
        cursor = ""
        while len(self._posts) < 500:
            page = json.loads(self._page("popular", f"&limit=100&cursor={cursor}" if cursor else "&limit=100"))
            self._posts += [item["post"] for item in page["feed"]]
            if not (cursor := page.get("cursor", "")):
                break

    def all(self) -> dict[str, Callable[[], bytes]]:
        return {
            "1,000 show less": lambda: self._tell("requestLess"),
            "1,000 seen": lambda: self._tell("interactionSeen"),
            "a page of 100": lambda: self._page("for-you", "&limit=100"),
            "a peek": lambda: self._page("for-you", "&limit=1"),
            "also liked": lambda: self._get(f"/also-liked?post={self._posts[0]}&limit=100"),
            "the playground": lambda: self._get(f"/playground?who={self._did}"),
            "lists of the playground": lambda: self._get(f"/playground/lists?who={self._did}"),
            "the front page": lambda: self._get("/"),
            "why": lambda: self._get(f"/why?who={self._did}&post={self._posts[0]}"),
        }

    def time_ms(self, ask: Callable[[], bytes]) -> float:
        """The longest turn of one request."""
        with self._note.open("r+b") as file:  # never shorter: the service has it mapped
            file.write(SECONDS.pack(0.0))
        ask()
        time.sleep(0.05)
        return float(SECONDS.unpack(self._note.read_bytes())[0]) * 1000

    def _tell(self, event: str) -> bytes:
        listed = [{"item": self._posts[n % len(self._posts)], "event": EVENTS + event} for n in range(MOST)]
        return self._get(f"/xrpc/{tokens.SEND_INTERACTIONS}", json.dumps({"interactions": listed}).encode())

    def _page(self, feed: str, query: str) -> bytes:
        uri = FEED.replace(
            PUBLISHER + "/app.bsky.feed.generator/for-you", f"{PUBLISHER}/app.bsky.feed.generator/{feed}"
        )
        return self._get(f"/xrpc/{tokens.GET_FEED_SKELETON}?feed={uri}{query}")

    def _get(self, path: str, body: bytes | None = None) -> bytes:
        self._made += 1
        method = tokens.SEND_INTERACTIONS if body is not None else tokens.GET_FEED_SKELETON
        token = self._network.token(self._reader, AUDIENCE, lxm=method, lifetime_s=600 + self._made)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        headers["x-forwarded-for"] = f"11.0.0.{self._made % 250 + 1}"
        request = urllib.request.Request(self._base + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            said: bytes = answer.read()
            return said


def main() -> None:
    from feedgen.serve.http import server

    with open(sys.argv[1], "r+b") as file:
        longest_s = mmap.mmap(file.fileno(), SECONDS.size)
    serving: ContextVar[bool] = ContextVar("serving", default=False)
    real_turn, real_connection = asyncio.Handle._run, server._Connection.run

    async def connection(self: Any) -> None:
        serving.set(True)
        await real_connection(self)

    def turn(self: Any) -> None:
        if not self._context.get(serving, False):
            real_turn(self)
            return
        began_s = time.thread_time()
        real_turn(self)
        took_s = time.thread_time() - began_s
        if took_s > SECONDS.unpack(longest_s[:])[0]:
            longest_s[:] = SECONDS.pack(took_s)

    server._Connection.run = connection  # type: ignore[method-assign]
    asyncio.Handle._run = turn  # type: ignore[attr-defined]
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    sys.argv = ["feedgen", *sys.argv[2:]]
    runpy.run_module("feedgen", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
