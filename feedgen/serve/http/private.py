"""What the operator and their monitors ask, on an address of its own that the public never reaches."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from feedgen.core.clock import Clock
from feedgen.core.exposition import CONTENT_TYPE, render
from feedgen.core.ids import is_did, parse_at_uri
from feedgen.core.telemetry import all_metrics
from feedgen.serve.http.not_found import not_found
from feedgen.serve.http.profile import PROFILE_PATH, ProfileRoute
from feedgen.serve.http.routing import Endpoint, Row, application

METRICS_PATH: Final = "/metrics"
LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"
WHY_PATH: Final = "/why.json"


@dataclass(frozen=True, slots=True)
class PrivateParts:
    """`late` names the parts that hang, `unready` says why pages can't be answered; empty is good. `measure` is called
    before the metrics are read.
    """

    late: Callable[[], list[str]]
    unready: Callable[[], str]
    measure: Callable[[], None]
    clock: Clock
    why: Callable[[str, str, str], Awaitable[dict[str, object]]] | None = None  # (reader's DID, post's at-uri, feed)
    pages: Sequence[Row] = ()  # for people; not made here
    not_found: Endpoint | None = None  # the page where nothing is
    hosts: Collection[str] = ()  # names of this address, besides its number, localhost and names without a dot
    feeds: Sequence[Row] = ()  # of the operator's own feeds


def make_private_app(parts: PrivateParts) -> ASGIApp:
    async def metrics(request: Request) -> Response:
        parts.measure()
        # In a thread: there is more to tell the longer the process runs.
        return Response(await asyncio.to_thread(render, all_metrics()), headers={"content-type": CONTENT_TYPE})

    async def live(request: Request) -> Response:
        late = parts.late()
        return _answer(f"no sign of life: {', '.join(late)}" if late else "")

    async def ready(request: Request) -> Response:
        return _answer(parts.unready())

    async def why(request: Request) -> Response:
        query = request.query_params
        reader, post, feed = query.get("reader", ""), query.get("post", ""), query.get("feed", "for-you")
        if not is_did(reader) or parse_at_uri(post) is None:
            return PlainTextResponse("give reader=<a DID> and post=<an at-uri with a DID in it>\n", 400)
        if parts.why is None or parts.unready():
            return _answer(parts.unready() or "not yet")
        return JSONResponse(await parts.why(reader, post, feed), headers={"cache-control": "no-store"})

    rows = [
        Row(METRICS_PATH, metrics, "metrics"),
        Row(LIVE_PATH, live, "livez"),
        Row(READY_PATH, ready, "readyz"),
        Row(WHY_PATH, why, "why.json"),
        Row(PROFILE_PATH, ProfileRoute().answer, "profile.json"),
        *parts.feeds,
        *parts.pages,
    ]
    app = application(rows, parts.clock, {HTTPException: not_found(parts.not_found)})
    return _KnownHosts(app, parts.hosts)


class _KnownHosts:
    """Refuses requests for other names.

    Any web page can have its own name lead here (DNS rebinding), and the operator's browser would let it read the
    answers. It can't have a browser ask for a number, or for a name without a dot.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if all(self._is_ours(host.decode("latin-1")) for host in hosts):
            await self._app(scope, receive, send)
            return
        text = "This name is not one of this address. Ask by number, or add the name to [service] private_hosts.\n"
        await PlainTextResponse(text, 421)(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
        name = name.lower().rstrip(".")
        return "." not in name or name in self._names or _is_number(name)


def _is_number(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _answer(trouble: str) -> Response:
    return PlainTextResponse(f"{trouble or 'ok'}\n", 503 if trouble else 200, {"cache-control": "no-store"})
