"""Our own parts: the data folder, the service that should be running, and how far behind the network it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from feedgen.core.errors import FeedgenError
from feedgen.host.doctor.finding import Finding, failure, ok, warning
from feedgen.host.doctor.machine import show_unit
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import resolved
from feedgen.store.folder import Folder
from feedgen.store.verify import glance

HEALTH_PATH: Final = "/xrpc/_health"
TIMEOUT_S: Final = 20.0
LIVE_S: Final = 60.0
LATE_S: Final = 600.0
SOCKET_UNIT: Final = "feedgen.socket"
START: Final = "Type: sudo systemctl start feedgen (or scripts/run), and look at its log."


def check_data(folder: Path) -> Iterator[Finding]:
    """Quick, and harmless beside a running service; `feedgen verify` looks at every row."""
    if not folder.exists():
        yield warning(
            "data", f"{folder.absolute()} is not there yet", "The first start makes it. Is it the right path?"
        )
        return
    try:
        days = len(Folder(folder, lock=False).days())
    except FeedgenError as error:
        yield failure("data", error.message, error.hint)
        return
    problems = glance(folder)
    for problem in problems:
        yield failure("data", f"{problem.path.name} {problem.what}", problem.advice)
    if not problems:
        yield ok("data", f"{days} days in {folder.absolute()}; `feedgen verify` looks deeper")


def service_url(bind: str, systemctl: str = "systemctl") -> str:
    """Where the service listens: what systemd's socket says, or else the settings."""
    shown = show_unit(systemctl, SOCKET_UNIT) or {}
    if shown.get("ActiveState") == "active" and (listen := shown.get("Listen", "").partition(" ")[0]):
        bind = f"unix:{listen}" if listen.startswith("/") else listen
    return f"http://{resolved(bind, Tailscale())}"


def client_for(url: str, timeout_s: float = TIMEOUT_S) -> httpx.Client:
    """Also for `http://unix:/path`. No proxy of the environment: these are our own addresses."""
    if url.startswith("http://unix:"):
        transport = httpx.HTTPTransport(uds=url.removeprefix("http://unix:"))
        return httpx.Client(base_url="http://localhost", timeout=timeout_s, transport=transport, trust_env=False)
    return httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)


def check_service(bind: str) -> Iterator[Finding]:
    """Whether it answers, and what it says of the network and of its disk."""
    try:
        url = service_url(bind)
    except FeedgenError as error:
        yield failure("service", f"its address {bind} is not known: {error.message}", error.hint)
        return
    try:
        with client_for(url) as client:
            answer = client.get(HEALTH_PATH)
            told = answer.json()
            jetstream, store = dict(told["jetstream"]), dict(told["store"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        yield failure("service", f"nothing answers at {url} ({type(error).__name__})", START)
        return
    yield ok("service", f"answers at {url}; {store.get('days')} days, {store.get('people')} people")
    if store.get("full"):
        yield failure(
            "service", "the disk refuses what is heard; it waits", "Free some room; it goes on by itself within 30 s."
        )
    yield judge_lag(jetstream)
    if trouble := dict(told.get("archive") or {}).get("trouble"):
        yield warning("jetstream archive", str(trouble), "See docs/archive.md. All else goes on without it.")


def judge_lag(jetstream: dict[str, Any]) -> Finding:
    state, behind_s, error = jetstream.get("state"), jetstream.get("behind_s"), jetstream.get("error") or ""
    host = jetstream.get("host") or "no host"
    said = f"{state}, {host}; " + ("nothing heard yet" if behind_s is None else f"{_span(behind_s)} behind")
    said += f"; it says: {error}" if error else ""
    if state in ("catching up", "reading the archive") or (behind_s is not None and behind_s <= LIVE_S):
        return ok("jetstream lag", said)
    advice = "Is the internet there? Are the hosts of [jetstream] urls up (see below)? It goes on trying by itself."
    if behind_s is not None and behind_s <= LATE_S:
        return warning("jetstream lag", said, advice)
    return failure("jetstream lag", said, advice)


def _span(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )
