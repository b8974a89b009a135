"""Questions to the AppView for what is missing: in batches, single flight, within a budget. They may fail.

After failures there is a rest, which doubles; while it lasts nothing is asked, and messages go out without what is
missing. Answers go into `Known`; `on_answer` is told which keys are settled: found, missing, or given up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from feedgen.core.budget import OUTSIDE_S
from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.telemetry import Counter
from feedgen.serve.out.outbound import Outbound
from feedgen.stream.known import Known, check_post_view

BATCH: Final = 25  # what getPosts and getProfiles take
AT_ONCE: Final = 6
GATHER_S: Final = 0.03  # a question waits so long for company
MAX_WANTED: Final = 500  # of a kind; the oldest are forgotten, since their messages have gone out
MAX_BYTES: Final = 4 << 20
FIRST_REST_S: Final = 1.0
MAX_REST_S: Final = 30.0
MAX_TOLD_REST_S: Final = 600.0  # of what a 429 may ask for
PROFILES, POSTS = "profiles", "posts"

CALLS = Counter("feedgen_stream_calls_total", "Calls to the AppView, by method and result.", "method", "result")
FORGOTTEN = Counter("feedgen_stream_unasked_total", "Profiles and posts that the budget left unasked.")

log = logging.getLogger(__name__)


class _Profile(msgspec.Struct):
    did: str


class _Post(msgspec.Struct):
    uri: str


class _Answer(msgspec.Struct):
    posts: list[msgspec.Raw] = []
    profiles: list[msgspec.Raw] = []


_answer = msgspec.json.Decoder(_Answer).decode
_did = msgspec.json.Decoder(_Profile).decode
_uri = msgspec.json.Decoder(_Post).decode


class Asker:
    """`calls_per_s` is the budget; unused calls are kept for a second."""

    def __init__(
        self,
        url: str,
        known: Known,
        clock: Clock,
        calls_per_s: float,
        on_answer: Callable[[Iterable[str]], None],
        timeout_s: float = OUTSIDE_S,
    ) -> None:
        self._url, self._known, self._clock = url.rstrip("/"), known, clock
        self._per_s, self._timeout_s, self._on_answer = calls_per_s, timeout_s, on_answer
        self._out = Outbound(connections=AT_ONCE, keep=AT_ONCE, unpack=True)
        self._wanted: dict[str, OrderedDict[str, None]] = {PROFILES: OrderedDict(), POSTS: OrderedDict()}
        self._flying: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._allowed, self._allowed_at_s = max(1.0, calls_per_s), clock.monotonic_s()
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self.rests_until_s = 0.0
        self.calls = 0

    @property
    def resting(self) -> bool:
        return self._clock.monotonic_s() < self.rests_until_s

    def want(self, what: str, key: str) -> bool:
        """False when it can't be asked for just now."""
        if self.resting:
            return False
        if key in self._flying:
            return True
        wanted = self._wanted[what]
        wanted[key] = None
        if len(wanted) > MAX_WANTED:
            wanted.popitem(last=False)
            FORGOTTEN.add(1)
        if len(wanted) >= BATCH:
            self._ask_what_is_allowed()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self._gathered)
        return True

    def forgive(self) -> None:
        """Ask again at once."""
        self.rests_until_s, self._failures, self._allowed = 0.0, 0, max(1.0, self._per_s)

    async def give_up(self) -> None:
        """No answer that is still to come is waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for wanted in self._wanted.values():
            wanted.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self.give_up()
        await self._out.close()

    def _gathered(self) -> None:
        self._timer = None
        self._ask_what_is_allowed()

    def _ask_what_is_allowed(self) -> None:
        """The longer queue first. What is left waits for the budget."""
        now_s = self._clock.monotonic_s()
        self._allowed = min(max(1.0, self._per_s), self._allowed + (now_s - self._allowed_at_s) * self._per_s)
        self._allowed_at_s = now_s
        while not self.resting and self._allowed >= 1 and len(self._tasks) < AT_ONCE:
            what, wanted = max(self._wanted.items(), key=lambda item: len(item[1]))
            if not wanted:
                return
            keys = [wanted.popitem(last=False)[0] for _ in range(min(BATCH, len(wanted)))]
            self._flying.update(keys)
            self._allowed -= 1
            task = asyncio.create_task(self._ask(what, keys), name="stream calls")
            self._tasks.add(task)
            task.add_done_callback(self._done)
        if any(self._wanted.values()) and self._timer is None and not self.resting:
            wait_s = max(GATHER_S, (1 - self._allowed) / self._per_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._gathered)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()
            self._ask_what_is_allowed()

    async def _ask(self, what: str, keys: list[str]) -> None:
        posts = what == POSTS
        method = "app.bsky.feed.getPosts" if posts else "app.bsky.actor.getProfiles"
        params = [("uris" if posts else "actors", key) for key in keys]
        self.calls += 1
        try:
            answer = await self._out.ask(f"{self._url}/xrpc/{method}", self._timeout_s, MAX_BYTES, params)
            if answer.status != 200:
                self._refused(method, keys, answer.status, answer.headers.get("ratelimit-reset", ""))
                return
            found = self._read(posts, answer.body)
        except (UpstreamError, msgspec.MsgspecError, RecursionError, ValueError) as error:
            self._failed(method, keys, "failed", str(error))
            return
        finally:
            self._flying.difference_update(keys)
        self._failures = 0
        CALLS.add(1, method, "good")
        came = self._known.post_came if posts else self._known.profile_came
        for key in keys:
            came(key, found.get(key))
        self._on_answer(keys)

    def _read(self, posts: bool, body: bytes) -> dict[str, bytes]:
        """By key, as JSON. One that is malformed is left out, like one that is missing."""
        answer, found = _answer(body), {}
        for raw in answer.posts if posts else answer.profiles:
            try:
                if posts:
                    check_post_view(raw)
                    found[_uri(raw).uri] = bytes(raw)
                else:
                    found[_did(raw).did] = bytes(raw)
            except (msgspec.MsgspecError, RecursionError):
                continue
        return found

    def _refused(self, method: str, keys: list[str], status: int, reset: str) -> None:
        if status == 429:
            now_s = self._clock.now_us() / 1e6
            told_s = float(reset) - now_s if reset.isdecimal() and len(reset) < 12 else 0.0
            told_s = min(MAX_TOLD_REST_S, max(FIRST_REST_S, told_s))
            self._failed(method, keys, "too many", "status 429", told_s)
        else:
            self._failed(method, keys, "failed", f"status {status}")

    def _failed(self, method: str, keys: list[str], result: str, why: str, told_s: float = 0.0) -> None:
        """Nobody waits for these any more. One failure may be chance; two in a row, or a 429, call for a rest."""
        CALLS.add(1, method, result)
        self._failures += 1
        if told_s or self._failures >= 2:
            rest_s = told_s or min(MAX_REST_S, FIRST_REST_S * 2 ** min(self._failures - 2, 10))
            if not self.resting:
                log.warning("the AppView fails; the stream goes on without it", extra={"reason": why, "rest_s": rest_s})
            self.rests_until_s = max(self.rests_until_s, self._clock.monotonic_s() + rest_s)
            for wanted in self._wanted.values():
                keys = [*keys, *wanted]
                wanted.clear()
        self._on_answer(keys)
