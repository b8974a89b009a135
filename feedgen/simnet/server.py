"""All servers of one made-up network, in one event loop: the world tells, the history keeps, the hosts serve.

In a test: `async with Simnet.start(people=200) as sim:`. In a process of its own: `feedgen simnet`, or `SimnetProcess`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np

from feedgen.core.clock import Clock, ManualClock, SystemClock
from feedgen.core.ids import LIKE_NSID, US_PER_DAY
from feedgen.simnet import text, tokens
from feedgen.simnet.appview import AppView
from feedgen.simnet.control import Control
from feedgen.simnet.faults import Faults
from feedgen.simnet.history import MAX_EVENTS, History
from feedgen.simnet.httpd import Handler, HttpServer, Request
from feedgen.simnet.jetstream import Dictionary, Flood, HostOptions, JetstreamHost, first_frames
from feedgen.simnet.labels import LabelStream
from feedgen.simnet.lively import LivelyWorld, aligned_start_us
from feedgen.simnet.pds import Repositories
from feedgen.simnet.plc import Directory, Keyring, Population, WebHosts
from feedgen.simnet.records import SimEvent
from feedgen.simnet.world import WARM_UP_US, World

TELL_EVENTS: Final = 500  # between two looks at the sockets while the past is told
TICK_S: Final = 0.05
WARM_UP_EVENTS: Final = 150_000  # a world that is very busy lives for a shorter time before its first event
PORTS: Final = ("pds", "appview", "plc", "web", "control", "jetstream")  # in order, if the first is given
HOSTS: Final = (HostOptions("v2"), HostOptions("v2", first_seq=7_000_001), HostOptions("legacy"))


@dataclass(frozen=True, slots=True)
class SimnetOptions:
    """Everything that makes one made-up network. The same options and `now_us` make the same one, byte for byte."""

    seed: int = 1
    people: int = 200
    history_days: float = 1.0
    per_person_day: float = 30.0  # events; the real network has about that
    live_rate: float | None = None  # events/s of everybody together once the past is over; None: as before
    odd_share: float = 0.002
    now_us: int | None = None  # where the past ends: None is now, and time goes on; else a clock that is moved by hand
    hosts: tuple[HostOptions, ...] = HOSTS
    listen: str = "127.0.0.1"
    port: int = 0  # of the first server, the others follow; 0: whatever is free
    max_events: int = MAX_EVENTS  # kept for replays
    wait: bool = True  # `start` returns only when the past was told
    flood: Flood | None = None  # instead of a world: Jetstream, the directory and tokens only


@dataclass(slots=True)
class Addresses:
    """Where everything listens."""

    jetstream: list[str] = field(default_factory=list)
    plc: str = ""
    pds: str = ""
    appview: str = ""
    web: str = ""
    control: str = ""
    labeler: str = ""


class Simnet:
    """The running network."""

    def __init__(self, options: SimnetOptions) -> None:
        self.options = options
        self.clock: Clock = SystemClock() if options.now_us is None else ManualClock(options.now_us)
        self.faults = Faults()
        self.history = History(options.max_events)
        self.urls = Addresses()
        self.hosts: list[JetstreamHost] = []
        self.labels = LabelStream()
        self.end_us = self.clock.now_us()  # of the past
        self._servers: list[HttpServer] = []
        self._telling: asyncio.Task[None] | None = None
        self._world: LivelyWorld | None = None
        if options.flood is None:
            self._world = self._made_world(options)
            self.people: Population = self._world
            self.dictionary = Dictionary(first_frames(self.history))
        else:
            self.people = options.flood.people
            self.dictionary = options.flood.dictionary
        self.keys = Keyring(self.people)

    @classmethod
    @asynccontextmanager
    async def start(cls, **options: Any) -> AsyncIterator[Simnet]:
        """`SimnetOptions` by name; listens inside the block."""
        simnet = cls(SimnetOptions(**options))
        await simnet.open()
        try:
            yield simnet
        finally:
            await simnet.close()

    @property
    def world(self) -> World:
        if self._world is None:
            raise RuntimeError("a flood has no world")
        return self._world

    async def open(self) -> None:
        """Listen; then tell the past, and go on in the present."""
        try:
            if self.options.flood is not None:
                await self.options.flood.warm_up()
            await self._listen()
        except BaseException:
            await self.close()
            raise
        if self._world is not None:
            self._telling = asyncio.ensure_future(self._tell_all(self._world))
            if self.options.wait:
                complete = asyncio.ensure_future(self.history.complete.wait())
                await asyncio.wait([self._telling, complete], return_when=asyncio.FIRST_COMPLETED)
                complete.cancel()
                if self._telling.done():
                    await self._telling  # the past is complete, or this raises

    async def close(self) -> None:
        """1001 to every subscriber, then nothing listens any more."""
        telling = self._telling
        if telling is not None:
            telling.cancel()
            await asyncio.wait([telling])
        self.labels.stop()
        for host in self.hosts:
            await host.stop()
        for server in self._servers:
            await server.stop()
        if telling is not None and not telling.cancelled() and (wrong := telling.exception()) is not None:
            raise wrong

    async def run(self) -> None:
        """Until cancelled. A world that can't go on ends it with its reason."""
        if self._telling is not None:
            await self._telling
        await asyncio.Event().wait()

    # What tests, demos and benchmarks ask for.

    def token(self, person: int, aud: str, lxm: str | None = tokens.GET_FEED_SKELETON, **bent: Any) -> str:
        """A service token as this person's PDS would sign it; see `tokens.service_token` for the rest."""
        now_s = bent.pop("now_s", self.clock.now_us() / 1e6)
        return tokens.service_token(self.people.did(person), self.keys.key(person), aud, lxm, now_s=now_s, **bent)

    def readers(self, k: int) -> list[int]:
        """People of different tastes who like a lot."""
        if self._world is None:
            return list(range(min(k, self.people.n_people)))
        return self._world.sample_readers(k)

    def describe(self, person: int) -> dict[str, Any]:
        found: dict[str, Any] = {"person": person, "did": self.people.did(person), "handle": self.people.handle(person)}
        if self._world is not None:
            who = self._world.person(person)
            found |= {"name": who.display_name, "languages": who.languages, "interests": who.interests}
            found["likes"] = len(self._world.liked(person))
        return found

    def emit(self, event: SimEvent) -> SimEvent:
        """Tell this now, as the next event. Time and number are settled here; ids that are missing are made up."""
        self._must_be_present()
        event.time_us = max(self.clock.now_us(), self.world.now_us + 1)
        if event.kind == "commit":
            self._fill_in(event)
        elif not event.detail:
            raise ValueError(f"an event of kind {event.kind} needs its detail")
        self.world.inject(event)
        self._tell(event.time_us)
        return event

    def like(self, person: int, post: str) -> SimEvent:
        """This person likes that post now."""
        self._must_be_present()
        event = self.world.like(person, post, max(self.clock.now_us(), self.world.now_us + 1))
        self._tell(event.time_us)
        return event

    def resync(self, person: int, without: Collection[str] = ()) -> list[SimEvent]:
        """The v2 hosts replace this person's repository; records with these keys are in it no more."""
        self._must_be_present()
        events = self.world.resync(person, without, max(self.clock.now_us(), self.world.now_us + 1))
        self._tell(events[0].time_us)
        return events

    def unlike(self, like: SimEvent) -> SimEvent:
        return self.emit(SimEvent(0, 0, like.did, "commit", "delete", LIKE_NSID, like.rkey))

    def set_account(self, person: int, status: str = "") -> SimEvent:
        """An account event. It is told; the world's own memory of the person does not change."""
        did, at = self.people.did(person), text.iso_us(self.clock.now_us())
        detail = {"active": not status, "did": did, "seq": self.world.seq + 1, "time": at}
        detail |= {"status": status} if status else {}
        return self.emit(SimEvent(0, 0, did, "account", detail=msgspec.json.encode(detail)))

    def rotate(self, person: int) -> None:
        """A new signing key, and the identity event that goes with it."""
        self.keys.rotate(person)
        if self._world is None:
            return
        did, at = self.people.did(person), text.iso_us(self.clock.now_us())
        detail = {"did": did, "handle": self.people.handle(person), "seq": self.world.seq + 1, "time": at}
        self.emit(SimEvent(0, 0, did, "identity", detail=msgspec.json.encode(detail)))

    def advance(self, seconds: float) -> int:
        """Move a manual clock and tell what happens until then; how many events that were."""
        if not isinstance(self.clock, ManualClock):
            raise RuntimeError("time goes by itself here; give now_us to move it by hand")
        self._must_be_present()
        self.clock.advance(seconds)
        before = self.history.tip
        self._tell(self.clock.now_us())
        return self.history.tip - before

    def status_of(self, request: Request | None = None) -> dict[str, Any]:
        told_us = self.history.last_us
        span_us = max(1, round(self.options.history_days * US_PER_DAY))
        past = 1.0 if self.history.complete.is_set() else max(0.0, 1 - (self.end_us - told_us) / span_us)
        return {
            "addresses": asdict(self.urls),
            "seed": self.options.seed,
            "people": self.people.n_people,
            "mode": "world" if self._world is not None else "flood",
            "past": round(past, 4) if self._world is not None else 1.0,
            "events": self.history.tip,
            "kept": self.history.tip - self.history.floor,
            "last_time_us": told_us,
            "next_seq": self.history.next_seq,
            "dictionary": self.dictionary.id,
            "hosts": [asdict(host.stats) | {"flavour": host.options.flavour} for host in self.hosts],
        }

    # How it works.

    async def _listen(self) -> None:
        """The PDS first: others write its address into what they say."""
        options = self.options
        handlers: dict[str, Handler] = {}
        if self._world is not None:
            appview = self.appview = AppView(self._world, self.faults)
            handlers = {"pds": Repositories(self._world).handle, "appview": appview.handle}
            for name, handler in handlers.items():
                await self._serve(name, handler)
            self.urls.pds, self.urls.appview = (server.url for server in self._servers)
            appview.url = self.urls.appview
        pds_url = self.urls.pds or "http://pds.simnet.test"
        self.urls.plc = await self._serve("plc", Directory(self.people, self.keys, pds_url).handle)
        self.urls.web = await self._serve("web", WebHosts(self.people, self.keys, pds_url).handle)
        self.urls.labeler = (await self._serve("labeler", self.labels.handle)).replace("http://", "ws://")
        self.urls.control = await self._serve("control", Control(self).router)
        for number, host in enumerate(options.hosts):
            name = f"jetstream/{number}"
            made = JetstreamHost(
                name, self.history, self.faults, self.clock.now_us, host, self.dictionary, options.flood
            )
            self.hosts.append(made)
            url = await self._serve(name, made.handle)
            self.urls.jetstream.append(url.replace("http://", "ws://"))

    async def _serve(self, name: str, handler: Handler) -> str:
        kind = name.partition("/")[0]
        port = self.options.port + PORTS.index(kind) if self.options.port and kind in PORTS else 0
        if port and "/" in name:
            port += int(name.partition("/")[2])
        server = HttpServer(name, handler, self.faults, self.options.listen, port)
        await server.start()
        self._servers.append(server)
        return server.url

    def _made_world(self, options: SimnetOptions) -> LivelyWorld:
        per_day = options.people * options.per_person_day
        start_us = aligned_start_us(self.end_us, round(options.history_days * US_PER_DAY), options.people, per_day)
        warm_up_us = min(WARM_UP_US, round(WARM_UP_EVENTS / per_day * US_PER_DAY))
        return LivelyWorld(
            options.seed, options.people, start_us, options.odd_share, options.per_person_day, warm_up_us
        )

    async def _tell_all(self, world: LivelyWorld) -> None:
        past = world.events(self.end_us - 1)
        while events := list(islice(past, TELL_EVENTS)):
            self.history.append(events)
            await asyncio.sleep(0)
        if self.options.live_rate is not None:
            world.quicken(self.options.live_rate * 86_400)
        self.history.complete.set()
        while isinstance(self.clock, SystemClock):
            await asyncio.sleep(TICK_S)
            self._tell(self.clock.now_us())

    def _tell(self, until_us: int) -> None:
        self.history.append(list(self.world.events(until_us)))

    def _must_be_present(self) -> None:
        if not self.history.complete.is_set():
            raise RuntimeError("the past is still being told")

    def _fill_in(self, event: SimEvent) -> None:
        numbers = np.array([event.time_us])
        event.operation = event.operation or "create"
        event.rkey = event.rkey or text.tids(numbers << 10)[0]
        event.rev = event.rev or text.tids((numbers << 10) + 1)[0]
        if event.record is not None and not event.cid:
            event.cid = text.cids(text.mix(numbers, self.world.seq))[0]
