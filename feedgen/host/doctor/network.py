"""The hosts that we listen to and ask: do they answer, and what time do they think it is."""

from __future__ import annotations

import email.utils
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from feedgen.core.settings import Settings
from feedgen.host.doctor.finding import Finding, failure, ok, warning
from feedgen.ingest.hosts import base_of, subscription_url
from feedgen.ingest.labeler import PATH as LABELS_PATH

TIMEOUT_S: Final = 20.0
FIRST_EVENT_S: Final = 10.0
OFF_S: Final = 5.0  # a clock that is off by more is worth a look,
FAR_OFF_S: Final = 60.0  # and by more than this readers' tokens look expired
MAX_ANSWER_BYTES: Final = 1 << 20


class Asked(NamedTuple):
    """How a host answered. `clock_s` is how much later it is there than here; None when it doesn't say."""

    trouble: str
    clock_s: float | None = None


def check_hosts(settings: Settings) -> Iterator[Finding]:
    """One line for each address of the settings, then the clock as they see it."""
    if trouble := _no_name_resolves(settings):
        yield failure("network", trouble, "Is the line up? Look with: resolvectl status")
        return
    yield from _jetstreams(settings)
    if settings.labels.enabled:
        for url in settings.labels.urls:
            trouble = _hear(f"{url.rstrip('/')}{LABELS_PATH}", wait=False)
            yield _judge("labels", url, trouble, "Labels stay as they are known. Is [labels] urls right?", grave=False)
    asked = {
        "plc": (f"{settings.identity.plc_url.rstrip('/')}/_health", "Without it new readers are not recognised."),
        "appview": (f"{settings.appview.url.rstrip('/')}/xrpc/_health", "Is [appview] url right?"),
    }
    clocks_s = []
    for check, (url, advice) in asked.items():
        answer = ask(url)
        yield _judge(check, url, answer.trouble, f"Is the internet there? {advice}", grave=check == "plc")
        clocks_s += [answer.clock_s] if answer.clock_s is not None else []
    for url in settings.identity.trusted_pds:
        answer = ask(f"{url.rstrip('/')}/xrpc/_health")
        yield _judge("pds", url, answer.trouble, "Is [identity] trusted_pds right?", grave=False)
    if "proxy" in (settings.identity.did_web, settings.identity.pds):
        yield _judge("proxy", settings.identity.proxy_url, _reach(settings.identity.proxy_url), "Is it running?", False)
    yield judge_clock(clocks_s)


def _no_name_resolves(settings: Settings) -> str:
    """What is wrong with name resolution as a whole; empty if one of our hosts has an address."""
    urls = [*settings.jetstream.urls, settings.identity.plc_url, settings.appview.url]
    urls += settings.labels.urls if settings.labels.enabled else ()
    reason = ""
    for host in dict.fromkeys(urlsplit(url).hostname or "" for url in urls):
        try:
            socket.getaddrinfo(host, 443)
            return ""
        except (OSError, UnicodeError) as error:
            reason = _words(error)
    return f"no host's name can be resolved: {reason}"


def judge_clock(clocks_s: list[float]) -> Finding:
    """By what the hosts say in their answers, to a second or so."""
    if not clocks_s:
        return warning("clock", "nobody could be asked for the time", "Look with: timedatectl")
    off_s = statistics.median(clocks_s)
    said = f"{abs(off_s):.0f} s {'behind' if off_s > 0 else 'ahead of'} the hosts that were asked"
    if abs(off_s) > FAR_OFF_S:
        return failure("clock", f"{said}: tokens look expired or not yet valid", "Type: sudo timedatectl set-ntp true")
    if abs(off_s) > OFF_S:
        return warning("clock", said, "Type: sudo timedatectl set-ntp true")
    return ok("clock", "right, to a few seconds")


def ask(url: str) -> Asked:
    """Any answer below 500 shows that the host is there."""
    try:
        began_s = time.time()
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client, client.stream("GET", url) as answer:
            middle_s = (began_s + time.time()) / 2
            status, date = answer.status_code, answer.headers.get("date", "")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Asked(_words(error))
    try:
        # A date has no fractions: half a second is its mean.
        clock_s = email.utils.parsedate_to_datetime(date).timestamp() + 0.5 - middle_s
    except (TypeError, ValueError):
        clock_s = None
    return Asked(f"answers with status {status}" if status >= 500 else "", clock_s)


def _jetstreams(settings: Settings) -> Iterator[Finding]:
    """One that works is enough; the others are for bad days."""
    wire = settings.jetstream.wire
    troubles = {}
    for url in settings.jetstream.urls:
        base = base_of(url)
        trouble = "" if wire == "v1" else _hear(subscription_url(base, "v2", None), wait=True)
        if wire == "v1" or (wire == "auto" and trouble):
            trouble = _hear(subscription_url(base, "v1", None), wait=True)
        troubles[url] = trouble
    works = not all(troubles.values())
    for url, trouble in troubles.items():
        advice = "Another one is used meanwhile." if works else "Is the internet there? Nothing is heard."
        yield _judge("jetstream", url, trouble, advice, grave=not works)


def _judge(check: str, url: str, trouble: str, advice: str, grave: bool) -> Finding:
    host = urlsplit(url).netloc
    if not trouble:
        return ok(check, f"{host} answers")
    return (failure if grave else warning)(check, f"{host}: {trouble}", advice)


def _hear(url: str, wait: bool) -> str:
    """What is wrong with a stream; with `wait` it must say something."""
    try:
        with connect(url, open_timeout=TIMEOUT_S, close_timeout=1, proxy=None, max_size=MAX_ANSWER_BYTES) as socket:
            if wait:
                socket.recv(FIRST_EVENT_S)
    except TimeoutError:
        return f"says nothing within {FIRST_EVENT_S:.0f} s"
    except (OSError, WebSocketException, ValueError) as error:
        return _words(error)
    return ""


def _reach(url: str) -> str:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT_S):
            return ""
    except OSError as error:
        return _words(error)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
