"""The process: `build` makes the parts without opening anything, `run` owns every thread and task.

    open the archive -> serve -> listen to the network -> until a signal, or until a part dies -> close in reverse

A part that dies takes the process down with its reason and exit code 1, so that whoever started it can start it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from feedgen.core import logs
from feedgen.core.arms import parse_arm
from feedgen.core.budget import MET_S
from feedgen.core.clock import Clock, SystemClock
from feedgen.core.errors import FeedgenError
from feedgen.core.exposition import document
from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.settings import Settings
from feedgen.core.telemetry import all_metrics
from feedgen.core.watch import Watch
from feedgen.feeds.catalog import Catalog
from feedgen.feeds.contract import Feed
from feedgen.feeds.list_feed import fallbacks
from feedgen.feeds.recipes import Experiment, Recipe, Share
from feedgen.graph.archive import Archive
from feedgen.host import figures, measures
from feedgen.host.fallback import Pusher
from feedgen.host.life import Life
from feedgen.host.reload import take_over
from feedgen.host.systemd import Notifier, Unit, public_and_private, sockets_given
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import TAILSCALE, TunnelWatch, resolved
from feedgen.host.vps_pages import VpsPages
from feedgen.ingest.frames import Inlet
from feedgen.ingest.jetstream import Client, State
from feedgen.ingest.pipeline import Pipeline
from feedgen.ingest.progress import Reporter
from feedgen.rank.listing import ListRules
from feedgen.rank.params import RankParams, preset
from feedgen.rank.pool import lists_made
from feedgen.rank.spam import Spammers
from feedgen.serve.http.also_liked import AlsoLikedRoute
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.limits import ClientAddresses, Limits
from feedgen.serve.http.private import PrivateParts, make_private_app
from feedgen.serve.http.routes import Health, Parts, make_app
from feedgen.serve.http.server import Server
from feedgen.serve.moderation import Moderator
from feedgen.serve.out.client import make_hosts
from feedgen.serve.out.handles import Handles
from feedgen.serve.out.repository import LibraryWithRepositories, Repositories
from feedgen.serve.readers.forgetting import Forgetting
from feedgen.serve.readers.history import History
from feedgen.serve.readers.interactions import Interaction
from feedgen.serve.readers.readers import KeptReaders
from feedgen.serve.readers.wishes import KeptWishes
from feedgen.serve.who.identity import Resolver, make_resolver, trusted_origins
from feedgen.serve.who.sign_in import Lookout, Seals
from feedgen.serve.who.tokens import TokenVerifier
from feedgen.store.figures import Figures
from feedgen.store.grouped import Grouped
from feedgen.store.moderation import Moderation
from feedgen.store.viewers import Viewers
from feedgen.web.allowance import Allowance
from feedgen.web.front import Front, Live
from feedgen.web.learning import Learning
from feedgen.web.my import Mine, MyFeed
from feedgen.web.people import People
from feedgen.web.playground import Playground
from feedgen.web.posts import Posts
from feedgen.web.reasons import ReasonPages
from feedgen.web.site import Site
from feedgen.web.status import Status
from feedgen.web.who import Guests, Workshop

log = logging.getLogger(__name__)

STOP_S: Final = 17.0  # from the first signal to the last word; systemd kills after 20 (TimeoutStopSec)
SWITCH_S: Final = 0.0001  # how long a page waits for each turn while other threads compute
COLLECT_AFTER: Final = (20_000, 20, 50)  # objects, and generations: hardly anything of ours goes in circles
SPAM_S: Final = 300.0  # between two looks for spammers
STALE_US: Final = 600 * US_PER_S
CURSOR_KEY: Final = "cursor_key"  # kept, so that paging goes on after a restart
SESSION_KEY: Final = "session_key"  # kept, so that readers stay signed in
EXPERIMENT_KEY: Final = "experiment_key"  # kept, so that readers stay in their arms
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130


def build(settings: Settings, clock: Clock | None = None) -> App:
    """All parts in their places; nothing is opened, no thread is started."""
    return App(settings, clock or SystemClock())


def rank_params(settings: Settings) -> RankParams:
    """The ranking's parameters as the settings have them. `rank` knows of no settings, and they of no ranking."""
    return preset(settings.rank.preset, **settings.rank.changes())


def experiment_of(settings: Settings, key: bytes) -> Experiment | None:
    """Which readers get another ranking, as the settings have it."""
    name, rank, shares = settings.experiment.name, settings.rank, list[Share]()
    for arm in filter(None, map(parse_arm, settings.experiment.arms)):
        changes = {} if arm.preset else rank.changes()
        changes |= {parameter: _number(value) for parameter, value in arm.changes.items()}
        shares.append(Share(arm.share, Recipe(preset(arm.preset or rank.preset, **changes), f"{name}/{arm.name}")))
    return Experiment(name, shares, key) if name else None


def _number(text: str) -> float:
    """As the parameters have it: some are whole."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def list_rules(settings: Settings) -> ListRules:
    """What may stand in a list, as the settings have it."""
    lists = settings.lists
    return ListRules(
        size=lists.posts,
        author_max=lists.author_max,
        author_gap=lists.author_gap,
        author_page_max=lists.author_page_max,
        spread=lists.spread,
        about_max=lists.about_max,
        replies=lists.replies,
        quotes=lists.quotes,
        adult=lists.adult,
    )


def identity_of(settings: Settings) -> ServiceIdentity:
    """Who we are. Without documents of the operator's own, our pages are the privacy policy and the terms."""
    service, web = settings.service, settings.web
    return ServiceIdentity(
        did=service.did,
        hostname=service.hostname,
        publisher_did=service.publisher_did,
        privacy_policy=web.privacy_policy or f"https://{service.hostname}/privacy",
        terms_of_service=web.terms or f"https://{service.hostname}/terms",
    )


class App:
    """`on_ready` is told the address once pages can be answered."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.params, self.rules = rank_params(settings), list_rules(settings)
        self.private_address = ""  # once it answers
        self.on_ready: Callable[[str], None] = lambda address: None
        self.archive: Archive | None = None
        self.life = Life(self.clock.monotonic_s)
        self.inlet = Inlet()
        self.pipeline: Pipeline | None = None
        self.client: Client | None = None
        self.catalog: Catalog | None = None
        self.repositories: Repositories | None = None
        self.readers: KeptReaders | None = None
        self.history: History | None = None
        self.wishes: KeptWishes | None = None
        self.viewers: Viewers | None = None
        self.moderation: Moderation | None = None
        self.figures: Figures | None = None
        self.reread: Callable[[], Settings] | None = None  # for SIGHUP
        self.unit = Unit(Notifier(), self.life)
        self.service = identity_of(settings)
        self.site = Site(settings, self.service, self.life.unready)
        self.limits = Limits(self.clock, ClientAddresses(settings.service.trusted_proxies))
        self.handles = Handles(settings.appview.url, self.clock)
        self.workshop: Workshop | None = None  # once everything is open
        guests = Guests(self.handles, self.limits, self.clock)
        front = Front(self.site, guests, self._workshop, lambda: self._feeds().values(), self._look_at_us)
        self.site.add(front.pages())
        self.site.add(Playground(self.site, guests, self._workshop).pages())
        self.site.add(ReasonPages(self.site, guests, self._workshop).pages())
        self.mine: Mine | None = None  # once everything is open
        self.site.add(MyFeed(self.site, guests, self.limits, self.clock, self._mine).pages())
        self.site.add(People(self.site, guests, self._workshop, self._mine).pages())
        self.site.add(Learning(self.site, self.clock).pages())
        self.site.add(Status(self.site, self.clock, lambda: self.figures).pages())
        self.binds = [settings.service.bind]
        self.private_binds = [settings.service.private_bind] if settings.service.private_bind else []
        self._sync_truth: Grouped  # once the archive is open
        self._stopping = asyncio.Event()

    def run(self) -> int:
        """Until a signal or a failure; the exit code."""
        sys.setswitchinterval(SWITCH_S)
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(self._run())
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    async def _run(self) -> int:
        self._meet_systemd()
        self._catch_signals()
        return await self.serve(on_stopping=_dead_mans_switch)

    def stop(self) -> None:
        """Asks `serve` to end. In its event loop."""
        self._stopping.set()

    async def serve(self, on_stopping: Callable[[], None] = lambda: None) -> int:
        """Everything, in the event loop that is running, until `stop` or a failure; the exit code."""
        started_s = time.monotonic()
        await asyncio.to_thread(self._find_addresses)
        folder = Path(self.settings.store.dir)
        async with contextlib.AsyncExitStack() as stack:
            await self._open_private(stack)
            archive = self.archive = await asyncio.to_thread(
                Archive, folder, self.settings.store.retention_days, today_later=True
            )
            stack.callback(self._close_archive, archive)
            self._sync_truth = Grouped(archive.writer.sync)
            viewers = await stack.enter_async_context(await Viewers.open(folder))
            self.viewers = viewers
            await viewers.numbered_by(archive.names.identity)
            resolver = await self._meet_readers(archive, viewers, stack)
            tasks = self._make_parts(archive, folder)
            tasks["figures"] = (await self._keep_figures(folder, stack)).run()
            tasks["moderation"] = (await self._moderate(archive, folder, stack)).run()
            stack.callback(self.life.stop)  # before the parts that it feels go
            if self.settings.tunnel.kind == TAILSCALE:
                tasks["tunnel"] = TunnelWatch(
                    Tailscale(), self.settings.tunnel.vps, self.settings.service.trusted_proxies
                ).run()
            if self.settings.fallback.url or self.settings.fallback.dir:
                tasks["fallback"] = Pusher(self.settings, lambda: server.addresses[0]).run()
            if self.settings.fallback.url:
                tasks["page times"] = VpsPages(self.settings.fallback.url).run()
            forgetting = self._forget_readers(archive, viewers, resolver)
            stack.push_async_callback(forgetting.finish)  # before the others write a last time
            tasks["forgetting"] = forgetting.run()
            server = await self._serve(archive, resolver, stack)
            address = server.addresses[0]
            # What is here stays: the collector need not look at it again while events stream through.
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            self.life.begin()
            log.info("answering", extra={"bind": address, "after_s": round(time.monotonic() - started_s, 2)})
            self.on_ready(address)
            self.unit.ready(self.status())
            failure = await self._until_stopped(tasks, on_stopping)
            await server.stop()
        if failure is not None:
            log.critical("stopped, because a part failed: %s", failure, exc_info=failure)
            return EXIT_FAILED
        log.info("stopped")
        return 0

    # --- parts

    def _find_addresses(self) -> None:
        tailscale = Tailscale()
        self.binds = [resolved(bind, tailscale) for bind in self.binds]
        self.private_binds = [resolved(bind, tailscale) for bind in self.private_binds]

    async def _open_private(self, stack: contextlib.AsyncExitStack) -> None:
        """Before everything else, so that a start which takes long can be watched."""
        beating = asyncio.create_task(self.life.run(), name="life")
        stack.callback(beating.cancel)
        if not self.private_binds:
            return
        parts = PrivateParts(
            self.life.late,
            self.life.unready,
            self._measure,
            self.clock,
            self._why,
            self.site.rows(private=True),
            self.site.not_found(private=True),
            self.settings.service.private_hosts,
        )
        server = Server(make_private_app(parts), self.private_binds)
        await server.start()
        stack.push_async_callback(server.stop, 1.0)
        self.private_address = server.addresses[0]
        log.info("the private address answers", extra={"bind": self.private_address})

    async def _why(self, reader_did: str, post: str, feed: str) -> dict[str, object]:
        assert self.readers is not None and self.catalog is not None
        await self.readers.load(reader_did)
        return await self.catalog.why(reader_did, post, feed)

    def _measure(self) -> None:
        measures.measure_process()
        if self.archive is not None and self.pipeline is not None:
            measures.measure_progress(self.pipeline.status.last_us, self.archive.names.count)

    async def _meet_readers(self, archive: Archive, viewers: Viewers, stack: contextlib.AsyncExitStack) -> Resolver:
        """What is known of readers, and the feeds that make use of it."""
        trusted = trusted_origins(self.settings.identity)
        resolver = make_resolver(self.settings.identity, viewers, self.clock)
        stack.push_async_callback(resolver.close)
        hosts = make_hosts(self.settings.identity, trusted)
        self.repositories = Repositories(resolver, hosts, archive.library, viewers, self.clock)
        stack.push_async_callback(self.repositories.close)
        library = LibraryWithRepositories(archive.library, self.repositories)
        experiment = experiment_of(self.settings, await _key(viewers, EXPERIMENT_KEY))
        key = await _key(viewers, CURSOR_KEY)
        self.catalog = Catalog(library, self.clock, key, self.params, self.rules, experiment)
        stack.callback(self.catalog.close)
        await self.catalog.rehearse()
        services = self.catalog.services
        self.wishes = KeptWishes(services.wishes, viewers, services.snapshots.forget_reader)
        await self.wishes.load()
        lookout = Lookout(self.settings.appview.url, self.clock)
        stack.push_async_callback(lookout.close)
        seals = Seals(await _key(viewers, SESSION_KEY), self.clock)
        self.mine = Mine(seals, self.wishes, lookout, self._flush)
        self.readers = KeptReaders(services.readers, viewers, self.clock)
        stack.push_async_callback(self.readers.flush)
        self.history = self.catalog.services.log = History(viewers.pages, self.clock)
        stack.push_async_callback(self.history.flush)
        return resolver

    async def _keep_figures(self, folder: Path, stack: contextlib.AsyncExitStack) -> figures.Keeper:
        """How the process fares, from minute to minute, for the status page."""
        recent, ours = logs.Recent(), logging.getLogger("feedgen")
        ours.addHandler(recent)
        stack.callback(ours.removeHandler, recent)
        self.figures = await stack.enter_async_context(await Figures.open(folder))
        slow = figures.slowly(folder)
        keeper = figures.Keeper(self.figures, self.clock, recent, self._measure, self._behind_s, slow)
        stack.push_async_callback(keeper.keep)
        return keeper

    def _behind_s(self) -> float | None:
        """How old the newest event in the store is; None before the first."""
        last_us = self.pipeline.status.last_us if self.pipeline is not None else 0
        return max(0, self.clock.now_us() - last_us) / US_PER_S if last_us else None

    async def _moderate(self, archive: Archive, folder: Path, stack: contextlib.AsyncExitStack) -> Moderator:
        """What labelers and the operator say of posts and people."""
        pipeline = self.pipeline
        assert pipeline is not None
        self.moderation = await stack.enter_async_context(await Moderation.open(folder))
        moderator = Moderator(
            self.moderation,
            self.settings,
            archive,
            archive.library,
            archive.graph.aside,
            self.clock,
            count=lambda: archive.names.count,
            heard_us=lambda: pipeline.status.last_us,
        )
        await moderator.load()
        return moderator

    def _make_parts(self, archive: Archive, folder: Path) -> dict[str, Coroutine[Any, Any, None]]:
        """What runs beside the server, by name."""
        assert self.catalog is not None and self.readers is not None and self.history is not None
        jetstream = self.settings.jetstream
        pipeline = self.pipeline = Pipeline(
            archive.recorder, self.inlet, self.clock, retention_days=self.settings.store.retention_days
        )
        self.client = Client(
            urls=jetstream.urls,
            wire=jetstream.wire,
            start=jetstream.start,
            dictionaries=folder / "dictionaries",
            inlet=self.inlet,
            clock=self.clock,
            resume_at=archive.recorder.cursor,
        )
        self.life.follow(lambda: pipeline.status.turned_s, self.catalog.pool.pulse)
        reporter = Reporter(self.client.status, self.pipeline, self.clock)
        return {
            "ingest": _ingest(archive, self.catalog, self.pipeline),
            "jetstream": self.client.run(),
            "progress": reporter.run(),
            "background": _watch(archive.graph.watch),
            "popular": self.catalog.run(),
            "spam": _watch_for_spam(archive, self.clock),
            "readers": self.readers.run(),
            "history": self.history.run(),
        }

    async def _serve(self, archive: Archive, resolver: Resolver, stack: contextlib.AsyncExitStack) -> Server:
        assert self.catalog is not None
        stack.push_async_callback(self.handles.close)
        self._open_workshop(stack)
        parts = Parts(
            service=self.service,
            feeds=self.catalog.feeds,
            verifier=TokenVerifier(self.service.did, resolver, self.clock),
            person_of=archive.library.person,
            sink=self._heard,
            health=self.health,
            clock=self.clock,
            limits=self.limits,
            meet=self._meet,
            also_liked=AlsoLikedRoute(self.catalog.also_liked, self.handles, self.limits),
            pages=self.site.rows(private=False),
            not_found=self.site.not_found(private=False),
        )
        server = Server(make_app(parts), self.binds)
        await server.start()
        return server

    def _open_workshop(self, stack: contextlib.AsyncExitStack) -> None:
        """What pages about lists are made with."""
        assert self.catalog is not None and self.readers is not None
        posts = Posts(self.settings.appview.url, self.settings.web.pictures, self.clock)
        share = Allowance(self.clock)
        stack.push_async_callback(posts.close)
        stack.callback(share.close)
        self.workshop = Workshop(self.catalog.preview(), share, posts, self.readers.load)

    def _feeds(self) -> dict[str, Feed]:
        assert self.catalog is not None
        return self.catalog.feeds

    async def _look_at_us(self) -> Live:
        """What the front page says of us."""
        assert self.viewers is not None and self.archive is not None and self.pipeline is not None
        now_us, heard_us = self.clock.now_us(), self.pipeline.status.last_us
        view = self.archive.library.view()
        likes = await asyncio.to_thread(lambda: int(view.arrays.person_ratings.sum(dtype="uint64")))
        readers = await self.viewers.pages.readers_since(now_us - US_PER_DAY)
        return Live(readers, likes, max(0, now_us - heard_us) / US_PER_S if heard_us else None)

    def _mine(self) -> Mine:
        assert self.mine is not None  # pages wait until we are ready
        return self.mine

    async def _flush(self) -> None:
        """What is known of readers, to the disk."""
        assert self.readers is not None and self.history is not None
        await self.readers.flush()
        await self.history.flush()

    def _workshop(self) -> Workshop:
        assert self.workshop is not None  # pages wait until we are ready
        return self.workshop

    async def _meet(self, reader_did: str, arrived_s: float | None) -> None:
        assert self.readers is not None and self.repositories is not None
        await self.readers.load(reader_did)
        waited_s = 0.0 if arrived_s is None else self.clock.monotonic_s() - arrived_s
        await self.repositories.meet(reader_did, 0.0 if arrived_s is None else MET_S - waited_s)

    async def _heard(self, reader_did: str, feed: str | None, interactions: list[Interaction], now_us: int) -> None:
        assert self.readers is not None and self.catalog is not None
        await self.readers.load(reader_did)
        if self.catalog.heard(reader_did, interactions, now_us):
            await self._sync_truth()  # the posts that it is about
            await self.readers.keep(reader_did)

    def _forget_readers(self, archive: Archive, viewers: Viewers, resolver: Resolver) -> Forgetting:
        """Whoever is to be forgotten goes out of every part that knows something of them."""
        assert self.catalog is not None and self.repositories is not None
        assert self.readers is not None and self.history is not None and self.moderation is not None
        assert self.wishes is not None
        parts = (self.catalog, resolver, self.repositories, self.readers, self.history, self.wishes)
        forgetting = Forgetting(
            viewers.pages,
            viewers.changed_by_others,
            readers=[part.forget for part in parts],
            accounts=[self.moderation.forget_account],
        )
        loop = asyncio.get_running_loop()

        def on_erased(did: str) -> None:  # in the ingest thread
            loop.call_soon_threadsafe(forgetting.account_is_gone, did)

        archive.recorder.on_erased = on_erased
        return forgetting

    def health(self) -> Health:
        """Serving is what must work; the network's troubles are told, but are no reason to call us ill."""
        assert self.client is not None and self.pipeline is not None and self.archive is not None
        status, applied = self.client.status, self.pipeline.status
        behind_us = max(0, self.clock.now_us() - applied.last_us) if applied.last_us else None
        fields = {
            "ok": True,
            "jetstream": {
                "state": str(status.state),
                "host": status.host,
                "wire": status.wire,
                "behind_s": None if behind_us is None else round(behind_us / US_PER_S, 1),
                "events_s": round(status.events_s, 1),
                "events": applied.events,
                "dropped": applied.dropped,
                "gaps": status.gaps_total,
                "error": status.last_error,
            },
            "store": {
                "days": len(self.archive.graph.days),
                "people": self.archive.names.count,
                "whole": self.archive.whole,  # today's log is read, too
                "full": applied.waiting_for_room,
            },
            "lists": {
                **{labels[0]: int(count) for labels, count in lists_made.samples()},
                **{f"instead: {', '.join(labels)}": int(count) for labels, count in fallbacks.samples()},
            },
            "fresh": status.state == State.LIVE and behind_us is not None and behind_us < STALE_US,
        }
        return Health(True, fields)

    def status(self) -> str:
        """One line, for `systemctl status`."""
        if self.client is None or self.pipeline is None or self.archive is None:
            return "opening the data folder"
        network, last_us = self.client.status, self.pipeline.status.last_us
        behind = f"{max(0, self.clock.now_us() - last_us) / US_PER_S:.1f} s behind" if last_us else "nothing heard yet"
        kept = f"{len(self.archive.graph.days)} days, {self.archive.names.count:,} people"
        return f"{network.state}: {behind}, {network.events_s:.0f} events/s; {kept}"

    # --- beginning and end

    def _meet_systemd(self) -> None:
        pid = os.getpid()
        self.unit = Unit(Notifier.from_environment(os.environ, pid), self.life)
        public, private = public_and_private(sockets_given(os.environ, pid))
        self.binds, self.private_binds = public or self.binds, private or self.private_binds
        self.life.on_beat = lambda: self.unit.beat(self.status())
        if self.unit.beat_s is not None:
            self.life.beat_s = min(self.life.beat_s, self.unit.beat_s)

    async def _reload(self) -> None:
        """SIGHUP: what can change at once does, the rest is named."""
        if self.reread is None:
            return
        self.unit.reloading()
        try:
            self.settings = take_over(self.settings, await asyncio.to_thread(self.reread))
        except FeedgenError as error:
            log.error("the settings stay as they were: %s", error)
        self.unit.ready(self.status())

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def on_signal(number: int) -> None:
            if self._stopping.is_set() and number == signal.SIGINT:
                os._exit(EXIT_INTERRUPTED)
            if not self._stopping.is_set():
                log.info("stopping", extra={"signal": signal.Signals(number).name})
            self._stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal, number)
        reloads: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            if self.life.ready and not reloads:  # one at a time
                reloads.add(task := loop.create_task(self._reload()))
                task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)

    async def _until_stopped(
        self, parts: dict[str, Coroutine[Any, Any, None]], on_stopping: Callable[[], None]
    ) -> BaseException | None:
        """Runs the parts until a signal, or until one of them ends, which none should. What it died of, if so. All of
        them have ended then: what ingest has begun is finished, however long that takes.
        """
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        failure = next((task.exception() for task in tasks if task.done() and not task.cancelled()), None)
        self.life.stop()
        self.unit.stopping()
        on_stopping()
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        return failure

    def _close_archive(self, archive: Archive) -> None:
        archive.close()


async def _key(viewers: Viewers, name: str) -> bytes:
    """A secret that outlives the process."""
    key = await viewers.note(name)
    if key is None:
        key = secrets.token_bytes(32)
        await viewers.put_note(name, key)
    return key


async def _ingest(archive: Archive, catalog: Catalog, pipeline: Pipeline) -> None:
    """Today's log comes first. Until it is read, pages are made of the days before."""
    if not archive.whole:
        await asyncio.to_thread(archive.read_today)
        await catalog.refresh()
    await pipeline.run()


async def _watch(watch: Watch) -> None:
    """Raises what background work dies of."""
    loop = asyncio.get_running_loop()
    died: asyncio.Future[None] = loop.create_future()

    def die(failure: BaseException) -> None:
        if not died.done():
            died.set_exception(failure)

    def tell(failure: BaseException) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(die, failure)

    watch.listen(tell)
    await died


def document_metrics() -> str:
    """docs/metrics.md: importing this module has named every metric of the service."""
    return document(all_metrics())


async def _watch_for_spam(archive: Archive, clock: Clock) -> None:
    """Now and then looks for accounts that like as no person does, and takes the weight of their likes away."""
    spammers = Spammers()

    def look() -> None:
        archive.graph.set_spammers(spammers.look(archive.library.view(), clock.now_us()))

    while True:
        await asyncio.sleep(SPAM_S)
        await asyncio.to_thread(look)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one; it halves the cost of a request."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _dead_mans_switch() -> None:
    """If closing hangs, leave anyway: what is committed stays, and what is not comes again, as after a power cut."""

    def leave() -> None:
        log.warning("closing takes too long; leaving without it")
        sys.stderr.flush()
        os._exit(EXIT_FAILED)

    timer = threading.Timer(STOP_S, leave)
    timer.daemon = True
    timer.start()
