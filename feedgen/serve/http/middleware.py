"""Around every request: the time it took, how it ended, and that no error of ours leaves the process as a stack
trace.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feedgen.core.clock import Clock
from feedgen.core.telemetry import Counter, Histogram
from feedgen.serve.http.fast_path import waited_s_of
from feedgen.serve.http.xrpc import XrpcError, error_answer, preflight_answer

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "OPTIONS"})

requests = Counter("feedgen_http_requests_total", "Requests answered, by route and status", "route", "code")
seconds = Histogram("feedgen_http_request_seconds", "Time from a request's arrival to the end of its answer", "route")

log = logging.getLogger(__name__)


class ErrorBoundary:
    """ASGI outside, ASGI inside. `labels` names the known paths for the metrics; every other path is `other`."""

    def __init__(self, app: ASGIApp, labels: Mapping[str, str], clock: Clock) -> None:
        self._app, self._labels, self._clock = app, labels, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = self._clock.monotonic_s() - waited_s_of(scope)
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, send_and_note)
        except Exception:
            # A bug of ours. The caller has been told 500 if nothing was sent yet.
            log.exception("unexpected error while answering %s", self._labels.get(scope["path"], "other"))
            if not status:
                failure = error_answer(XrpcError(500, "InternalServerError", "Internal Server Error"))
                await failure(scope, receive, send_and_note)
        finally:
            self._note(scope, status, self._clock.monotonic_s() - began_s)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await preflight_answer()(scope, receive, send)
        elif scope["method"] not in _METHODS:
            error = XrpcError(405, "InvalidRequest", "Incorrect HTTP method", {"allow": ", ".join(sorted(_METHODS))})
            await error_answer(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        route = self._labels.get(scope["path"], "other")
        requests.add(1, route, str(status))
        seconds.observe(took_s, route)
        log.debug("%s %s %d %.1f ms", scope["method"], route, status, took_s * 1000)
