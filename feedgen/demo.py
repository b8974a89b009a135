"""`feedgen demo`: the real service on a made-up network, which runs beside it as a process of its own.

What is shown is real: real sockets, real signatures, the code that serves. Only the people are made up.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from feedgen.app import App, build
from feedgen.core.settings import Settings
from feedgen.core.settings_network import Identity, Jetstream
from feedgen.simnet.process import SimnetProcess
from feedgen.simnet.server import Addresses

log = logging.getLogger(__name__)

START_S: Final = 60.0
CAUGHT_UP_US: Final = 5_000_000
POLL_S: Final = 0.2
PRIVATE_BIND: Final = "127.0.0.1:8091"
LIVE_RATE: Final = "10"  # events/s of everybody, so that something is seen to happen
KEEP_ALL: Final = ("--lookback-h", "-1")  # a real host forgets after 36 h
TOKEN_S: Final = 3500  # an hour is the most that is believed
METHOD: Final = "app.bsky.feed.getFeedSkeleton"


def run(settings: Settings, *, people: int, days: float, seed: int) -> int:
    """Starts the made-up network, then the service on it; the exit code."""
    arguments = ["--people", str(people), "--days", str(days), "--seed", str(seed), "--rate", LIVE_RATE, *KEEP_ALL]
    with SimnetProcess(*arguments) as network:
        log.info(
            "the made-up network answers", extra={"control": network.urls.control, "appview": network.urls.appview}
        )
        settings = _on(settings, network.urls)
        # Delete the previous demo's data: another seed has other people.
        shutil.rmtree(settings.store.dir, ignore_errors=True)
        app = build(settings)
        app.on_ready = lambda address: _guide_later(app, network, address)
        return app.run()


def _on(settings: Settings, urls: Addresses) -> Settings:
    """The same settings, with every outside address replaced, a data folder of its own, and all pages to be seen."""
    jetstream = Jetstream(urls=tuple(urls.jetstream), wire=settings.jetstream.wire, start="oldest")
    identity = Identity(plc_url=urls.plc, did_web="off", trusted_pds=(urls.pds,))
    service = settings.service
    if not service.private_bind:
        bind = "127.0.0.1:0" if service.bind.endswith(":0") else PRIVATE_BIND
        service = msgspec.structs.replace(service, private_bind=bind)
    folder = str(Path(settings.store.dir) / "demo")
    return msgspec.structs.replace(
        settings,
        service=service,
        jetstream=jetstream,
        identity=identity,
        labels=msgspec.structs.replace(settings.labels, urls=(urls.labeler,)),
        store=msgspec.structs.replace(settings.store, dir=folder),
        appview=msgspec.structs.replace(settings.appview, url=urls.appview),
        web=msgspec.structs.replace(settings.web, public=True),
    )


def _guide_later(app: App, network: SimnetProcess, address: str) -> None:
    threading.Thread(target=_guide, args=(app, network, address), name="guide", daemon=True).start()


def _guide(app: App, network: SimnetProcess, address: str) -> None:
    """Waits until the made-up past is in, then says what can be tried."""
    if not _caught_up(app):
        return
    base = f"http://{address}"
    reader = network.control("readers?k=1")[0]
    service = app.settings.service
    token = network.token(reader["person"], service.did, METHOD, TOKEN_S)
    feed = f"at://{service.publisher_did}/app.bsky.feed.generator/for-you"
    assert app.runtime is not None
    lines = [
        "",
        f"  {app.runtime.archive.names.count:,} made-up people, and a feed for each of them. The pages to open:",
        "",
        f"    {base}/            what everybody may see",
        f"    http://{app.private_address}/            the same, and what is for the operator",
        "",
        f"  A personal feed, for {reader['name']} (@{reader['handle']}), who likes {_listed(reader['interests'])}:",
        "",
        f"    curl -s '{base}/xrpc/{METHOD}?feed={feed}&limit=10' -H 'Authorization: Bearer {token}'",
        "",
        "  New events keep coming. Ctrl-C ends it.",
        "",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _caught_up(app: App) -> bool:
    """False when it takes too long, or when the process is about to end."""
    deadline_s = time.monotonic() + START_S * max(1, os.cpu_count() or 1)
    while time.monotonic() < deadline_s:
        runtime = app.runtime
        if runtime is not None and runtime.pipeline.status.last_us > app.clock.now_us() - CAUGHT_UP_US:
            return True
        time.sleep(POLL_S)
    log.warning("the made-up past takes long; the feed fills while you wait")
    return False


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3])
