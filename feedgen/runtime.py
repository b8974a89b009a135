"""Everything that is open while the service runs: opened in order, closed in reverse, one frozen value in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from feedgen.core import logs
from feedgen.core.clock import Clock
from feedgen.core.settings import Settings
from feedgen.feeds.catalog import Catalog
from feedgen.feeds.from_settings import experiment_of, list_mix, list_rules, rank_params
from feedgen.feeds.own import OwnFeeds
from feedgen.feeds.spam_watch import watch_for_spam
from feedgen.graph.archive import Archive
from feedgen.host import figures, measures
from feedgen.host.fallback import Pusher
from feedgen.host.health import Vitals
from feedgen.host.life import Life
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import TAILSCALE, TunnelWatch, resolved
from feedgen.host.vps_pages import VpsPages
from feedgen.ingest.frames import Inlet
from feedgen.ingest.hosts import Dictionaries
from feedgen.ingest.jetstream import Behind, Client
from feedgen.ingest.pipeline import Pipeline
from feedgen.ingest.progress import Reporter
from feedgen.ingest.tap import Tap
from feedgen.learn.files import FOLDER as LEARN_FOLDER
from feedgen.learn.learner import Learner
from feedgen.rank.scorer import Scorer
from feedgen.serve.http.also_liked import AlsoLikedRoute
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.listening import address_of, bound
from feedgen.serve.http.routes import Health, Parts, make_app
from feedgen.serve.http.server import Server
from feedgen.serve.moderation import Moderator
from feedgen.serve.out.client import make_hosts
from feedgen.serve.out.handles import Handles
from feedgen.serve.out.repository import LibraryWithRepositories, Repositories
from feedgen.serve.readers.history import History
from feedgen.serve.readers.known import KnownReaders
from feedgen.serve.readers.readers import KeptReaders
from feedgen.serve.readers.wishes import KeptWishes
from feedgen.serve.who.identity import make_resolver, trusted_origins
from feedgen.serve.who.sign_in import Lookout, Seals
from feedgen.serve.who.tokens import TokenVerifier
from feedgen.store.figures import Figures
from feedgen.store.grouped import Grouped
from feedgen.store.moderation import Moderation
from feedgen.store.viewers import Viewers
from feedgen.web.allowance import Allowance
from feedgen.web.my import Mine
from feedgen.web.posts import Posts
from feedgen.web.site import Site
from feedgen.web.who import Workshop

if TYPE_CHECKING:
    from feedgen.stream.service import StreamService

CURSOR_KEY: Final = "cursor_key"  # kept, so that paging goes on after a restart
SESSION_KEY: Final = "session_key"  # kept, so that readers stay signed in
EXPERIMENT_KEY: Final = "experiment_key"  # kept, so that readers stay in their arms

if TYPE_CHECKING:  # an optional part: imported when it is wanted
    from feedgen.archive.source import Source

Task = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Early:
    """What is there before anything is opened."""

    settings: Settings
    clock: Clock
    life: Life
    limits: Limits
    handles: Handles
    service: ServiceIdentity
    site: Site


@dataclass(frozen=True, slots=True)
class Runtime:
    archive: Archive
    viewers: Viewers
    catalog: Catalog
    readers: KnownReaders
    moderation: Moderation
    figures: Figures
    client: Client
    pipeline: Pipeline
    vitals: Vitals
    workshop: Workshop
    mine: Mine
    own_feeds: OwnFeeds
    server: Server
    learner: Learner | None  # None: switched off
    stream: StreamService | None
    tasks: Mapping[str, Task]  # what runs until the end, by name


@contextlib.asynccontextmanager
async def open_runtime(early: Early, binds: list[str]) -> AsyncIterator[Runtime]:
    """Answers pages once it is entered; nothing listens to the network yet: `tasks` do."""
    settings, clock, folder = early.settings, early.clock, Path(early.settings.store.dir)
    async with AsyncExitStack() as stack:
        archive = await asyncio.to_thread(Archive, folder, settings.store.retention_days, today_later=True)
        stack.callback(lambda: archive.close())
        viewers = await stack.enter_async_context(await Viewers.open(folder))
        await viewers.numbered_by(archive.names.identity)
        readers = await _open_readers(early, archive, viewers, stack)
        catalog = readers.catalog
        mine = await _open_sign_in(early, readers, viewers, stack)
        tap = Tap()
        vitals = _vitals(early, archive, tap)
        pipeline = vitals.pipeline
        early.life.follow(lambda: pipeline.status.turned_s, catalog.pool.pulse)
        store = await stack.enter_async_context(await Figures.open(folder))
        keeper = _keep_figures(vitals, folder, store, stack)
        moderation = await stack.enter_async_context(await Moderation.open(folder))
        moderator = _moderator(early, archive, moderation, pipeline)
        await moderator.load()
        stack.callback(early.life.stop)  # before the parts that it feels go
        forgetting = readers.forgetting(viewers, archive.recorder, [moderation.forget_account])
        stack.push_async_callback(forgetting.finish)  # before the others write a last time
        own_feeds = OwnFeeds(settings.feeds.folder, catalog, pipeline)
        await own_feeds.load()
        workshop = _open_workshop(early, readers, stack)
        server = await _serve(early, archive, readers, vitals, binds, stack)
        stream = await _open_stream(early, archive, catalog, tap, stack)
        tasks: dict[str, Task] = {
            "ingest": lambda: _ingest(archive, catalog, pipeline),
            "jetstream": lambda: _listen(vitals),
            "progress": Reporter(vitals.client.status, pipeline, clock).run,
            "background": archive.graph.watch.wait,
            "popular": catalog.run,
            "spam": lambda: watch_for_spam(archive, clock),
            "readers": readers.kept.run,
            "history": readers.history.run,
            "figures": keeper.run,
            "moderation": moderator.run,
            "forgetting": forgetting.run,
        }
        learner = _learner(early, archive, catalog) if settings.learn.enabled else None
        if learner is not None:
            tasks["learning"] = learner.run
        if settings.tunnel.kind == TAILSCALE:
            tasks["tunnel"] = TunnelWatch(Tailscale(), settings.tunnel.vps, settings.service.trusted_proxies).run
        if settings.fallback.url or settings.fallback.dir:
            tasks["fallback"] = Pusher(settings, lambda: server.addresses[0]).run
        if settings.fallback.url:
            tasks["page times"] = VpsPages(settings.fallback.url).run
        if stream is not None:
            tasks["stream"] = stream.run
        yield Runtime(
            archive, viewers, catalog, readers, moderation, store, vitals.client, pipeline, vitals,
            workshop, mine, own_feeds, server, learner, stream, tasks,
        )  # fmt: skip


async def _open_stream(
    early: Early, archive: Archive, catalog: Catalog, tap: Tap, stack: AsyncExitStack
) -> StreamService | None:
    """Unless it is asked for, it is not even imported."""
    settings = early.settings
    if not settings.stream.bind:
        return None
    from feedgen.stream.service import StreamService

    sock = bound(await asyncio.to_thread(resolved, settings.stream.bind, Tailscale()), "[stream] bind")
    dictionaries = Dictionaries(Path(settings.store.dir) / "dictionaries")
    stream = StreamService(
        settings, sock, address_of(sock), tap, archive.library, catalog.feeds, dictionaries, early.clock
    )
    stack.push_async_callback(stream.close)
    await stream.start()
    return stream


async def _open_readers(early: Early, archive: Archive, viewers: Viewers, stack: AsyncExitStack) -> KnownReaders:
    """What is known of readers, and the feeds that make use of it."""
    settings, clock = early.settings, early.clock
    resolver = make_resolver(settings.identity, viewers, clock)
    stack.push_async_callback(resolver.close)
    hosts = make_hosts(settings.identity, trusted_origins(settings.identity))
    repositories = Repositories(resolver, hosts, archive.library, viewers, clock)
    stack.push_async_callback(repositories.close)
    library = LibraryWithRepositories(archive.library, repositories)
    experiment = experiment_of(settings, await viewers.secret(EXPERIMENT_KEY))
    key, params, rules = await viewers.secret(CURSOR_KEY), rank_params(settings), list_rules(settings)
    catalog = Catalog(library, clock, key, params, rules, experiment)
    catalog.services.mix = list_mix(settings)
    stack.callback(catalog.close)
    await catalog.rehearse()
    services = catalog.services
    wishes = KeptWishes(services.wishes, viewers, services.snapshots.forget_reader)
    await wishes.load()
    kept = KeptReaders(services.readers, viewers, clock)
    stack.push_async_callback(kept.flush)
    history = services.log = History(viewers.pages, clock)
    stack.push_async_callback(history.flush)
    sync_truth = Grouped(archive.writer.sync)
    return KnownReaders(catalog, kept, history, wishes, repositories, resolver, sync_truth, clock)


async def _open_sign_in(early: Early, readers: KnownReaders, viewers: Viewers, stack: AsyncExitStack) -> Mine:
    lookout = Lookout(early.settings.appview.url, early.clock)
    stack.push_async_callback(lookout.close)
    return Mine(Seals(await viewers.secret(SESSION_KEY), early.clock), readers.wishes, lookout, readers.flush)


def _learner(early: Early, archive: Archive, catalog: Catalog) -> Learner:
    """What learns to rank from everybody's likes."""
    services = catalog.services

    def use(scorer: Scorer | None) -> None:
        services.scorer = scorer

    return Learner(
        Path(early.settings.store.dir) / LEARN_FOLDER,
        archive.library.view,
        lambda: archive.names.count,
        lambda: services.formula(cheap=False),
        services.rules.forbidden(),
        early.clock,
        use,
    )


def _vitals(early: Early, archive: Archive, tap: Tap) -> Vitals:
    """The ways in from the network; nothing is connected."""
    jetstream, clock, inlet = early.settings.jetstream, early.clock, Inlet()
    client = Client(
        urls=jetstream.urls,
        wire=jetstream.wire,
        start=jetstream.start,
        dictionaries=Path(early.settings.store.dir) / "dictionaries",
        inlet=inlet,
        clock=clock,
        resume_at=archive.recorder.cursor,
        tap=tap,
    )
    pipeline = Pipeline(archive.recorder, inlet, clock, retention_days=early.settings.store.retention_days, tap=tap)
    return Vitals(archive, client, pipeline, clock, _source(early, archive, client, pipeline, inlet))


def _source(early: Early, archive: Archive, client: Client, pipeline: Pipeline, inlet: Inlet) -> Source | None:
    """Jetstream's archive, if the settings want anything of it."""
    jetstream = early.settings.jetstream
    if jetstream.wire == "v1" or not (jetstream.archive_days or jetstream.archive_heal):
        return None
    from feedgen.archive.key import find_key
    from feedgen.archive.source import Source, Wanted

    source = Source(
        client.bases[0],
        lambda: find_key(jetstream.archive_key, jetstream.archive_key_file),
        Path(early.settings.store.dir),
        Wanted(jetstream.archive_days, jetstream.archive_heal, early.settings.store.retention_days),
        pipeline,
        inlet,
        archive.recorder.cursor,
        client.status,
        early.clock,
        archive.graph.moment.set,
    )
    client.behind = source.is_behind
    return source


def _keep_figures(vitals: Vitals, folder: Path, store: Figures, stack: AsyncExitStack) -> figures.Keeper:
    """How the process fares, from minute to minute, for the status page."""
    recent, ours = logs.Recent(), logging.getLogger("feedgen")
    ours.addHandler(recent)
    stack.callback(ours.removeHandler, recent)

    def measure() -> None:
        measures.measure_process()
        vitals.measure()

    keeper = figures.Keeper(store, vitals.clock, recent, measure, vitals.behind_s, figures.slowly(folder))
    stack.push_async_callback(keeper.keep)
    return keeper


def _moderator(early: Early, archive: Archive, moderation: Moderation, pipeline: Pipeline) -> Moderator:
    """What labelers and the operator say of posts and people."""
    return Moderator(
        moderation,
        early.settings,
        archive,
        archive.library,
        archive.graph.aside,
        early.clock,
        count=lambda: archive.names.count,
        heard_us=lambda: pipeline.status.last_us,
        given_again=archive.names.given_again,
    )


def _open_workshop(early: Early, readers: KnownReaders, stack: AsyncExitStack) -> Workshop:
    """What pages about lists are made with."""
    posts = Posts(early.settings.appview.url, early.settings.web.pictures, early.clock)
    share = Allowance(early.clock)
    stack.push_async_callback(posts.close)
    stack.callback(share.close)
    return Workshop(readers.catalog.preview(), share, posts, readers.kept.load, readers.catalog)


async def _serve(
    early: Early,
    archive: Archive,
    readers: KnownReaders,
    vitals: Vitals,
    binds: list[str],
    stack: AsyncExitStack,
) -> Server:
    stack.push_async_callback(early.handles.close)
    parts = Parts(
        service=early.service,
        feeds=readers.catalog.feeds,
        verifier=TokenVerifier(early.service.did, readers.resolver, early.clock),
        person_of=archive.library.person,
        sink=readers.heard,
        health=lambda: Health(True, vitals.fields()),
        clock=early.clock,
        limits=early.limits,
        meet=readers.meet,
        also_liked=AlsoLikedRoute(readers.catalog.also_liked, early.handles, early.limits),
        pages=early.site.rows(private=False),
        not_found=early.site.not_found(private=False),
    )
    server = Server(make_app(parts), binds)
    await server.start()
    return server


async def _listen(vitals: Vitals) -> None:
    """The archive first, if there is anything that only it has; then the live stream."""
    if vitals.source is None:
        return await vitals.client.run()
    while True:
        await vitals.source.catch_up()
        with contextlib.suppress(Behind):
            await vitals.client.run()


async def _ingest(archive: Archive, catalog: Catalog, pipeline: Pipeline) -> None:
    """Today's log comes first. Until it is read, pages are made of the days before."""
    if not archive.whole:
        await asyncio.to_thread(archive.read_today)
        await catalog.refresh()
    await pipeline.run()
