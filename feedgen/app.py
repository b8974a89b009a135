"""The process: `build` makes the parts without opening anything, `run` owns every thread and task.

    open the runtime -> listen to the network -> until a signal, or until a part dies -> close in reverse

A part that dies takes the process down with its reason and exit code 1, so that systemd can restart it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from feedgen.core.clock import Clock, SystemClock
from feedgen.core.errors import FeedgenError
from feedgen.core.exposition import document
from feedgen.core.settings import Settings
from feedgen.core.telemetry import all_metrics
from feedgen.feeds.from_settings import list_mix, list_rules, rank_params
from feedgen.host import measures
from feedgen.host.life import Life
from feedgen.host.reload import take_over
from feedgen.host.systemd import Notifier, Unit, public_and_private, sockets_given
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import resolved
from feedgen.runtime import Early, Runtime, Task, open_runtime
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.feeds import FeedRoutes
from feedgen.serve.http.limits import ClientAddresses, Limits
from feedgen.serve.http.private import PrivateParts, make_private_app
from feedgen.serve.http.server import Server
from feedgen.serve.out.handles import Handles
from feedgen.web.pages import make_site

log = logging.getLogger(__name__)

STOP_S: Final = 17.0  # from the first signal to the last word; systemd kills after 20 (TimeoutStopSec)
SWITCH_S: Final = 0.0001  # how long a page waits for each turn while other threads compute
COLLECT_AFTER: Final = (20_000, 20, 50)  # objects, and generations: hardly anything of ours goes in circles
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130


def build(settings: Settings, clock: Clock | None = None) -> App:
    """All parts in their places; nothing is opened, no thread is started."""
    return App(settings, clock or SystemClock())


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
    """`on_ready` is called with the address once pages can be answered; `runtime` is set from then on."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.params, self.rules, self.mix = rank_params(settings), list_rules(settings), list_mix(settings)
        self.runtime: Runtime | None = None
        self.private_address = ""  # once it answers
        self.on_ready: Callable[[str], None] = lambda address: None
        self.reread: Callable[[], Settings] | None = None  # for SIGHUP
        self.life = Life(clock.monotonic_s)
        self.unit = Unit(Notifier(), self.life)
        self.service = identity_of(settings)
        self.limits = Limits(clock, ClientAddresses(settings.service.trusted_proxies))
        self.handles = Handles(settings.appview.url, clock)
        self.site = make_site(settings, self.service, self.life.unready, self.limits, self.handles, clock, self._opened)
        self.binds = [settings.service.bind]
        self.private_binds = [settings.service.private_bind] if settings.service.private_bind else []
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
        async with contextlib.AsyncExitStack() as stack:
            await self._open_private(stack)
            early = Early(self.settings, self.clock, self.life, self.limits, self.handles, self.service, self.site)
            runtime = self.runtime = await stack.enter_async_context(open_runtime(early, self.binds))
            address = runtime.server.addresses[0]
            # What is here stays: the collector need not look at it again while events stream through.
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            self.life.begin()
            log.info("answering", extra={"bind": address, "after_s": round(time.monotonic() - started_s, 2)})
            self.on_ready(address)
            self.unit.ready(self.status())
            failure = await self._until_stopped(runtime.tasks, on_stopping)
            await runtime.server.stop()
            if failure is not None:  # said first: what failed may also fail to close
                log.critical("stopping, because a part failed: %s", failure, exc_info=failure)
        if failure is not None:
            return EXIT_FAILED
        log.info("stopped")
        return 0

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
            lambda reader_did, post, feed: self._opened().readers.why(reader_did, post, feed),
            self.site.rows(private=True),
            self.site.not_found(private=True),
            self.settings.service.private_hosts,
            FeedRoutes(lambda: self._opened().own_feeds, self.handles, self.clock).rows(),
        )
        server = Server(make_private_app(parts), self.private_binds, setting="private_bind")
        await server.start()
        stack.push_async_callback(server.stop, 1.0)
        self.private_address = server.addresses[0]
        log.info("the private address answers", extra={"bind": self.private_address})

    def _opened(self) -> Runtime:
        if self.runtime is None:
            raise RuntimeError("asked for before everything was open")
        return self.runtime

    def _measure(self) -> None:
        measures.measure_process()
        if self.runtime is not None:
            self.runtime.vitals.measure()

    def status(self) -> str:
        """One line, for `systemctl status`."""
        return "opening the data folder" if self.runtime is None else self.runtime.vitals.line()

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
        with contextlib.suppress(FeedgenError):  # logged
            await self._opened().own_feeds.load()
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

    async def _until_stopped(self, parts: Mapping[str, Task], on_stopping: Callable[[], None]) -> BaseException | None:
        """Runs the parts until a signal, or until one of them ends, which none should. What it died of, if so. All of
        them have ended then: what ingest has begun is finished, however long that takes.
        """
        tasks = [asyncio.create_task(part(), name=name) for name, part in parts.items()]
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


def document_metrics() -> str:
    """docs/metrics.md: importing this module, and its optional parts, has named every metric of the service."""
    importlib.import_module("feedgen.archive.source")
    importlib.import_module("feedgen.stream.service")
    return document(all_metrics())


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
