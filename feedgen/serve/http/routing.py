"""A table of routes: what both addresses are made of, rows of their own and rows that others bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from feedgen.core.clock import Clock
from feedgen.serve.http.middleware import ErrorBoundary

Endpoint = Callable[[Request], Awaitable[Response]]


class Row(NamedTuple):
    """`label` is the path's name in the metrics."""

    path: str
    answer: Endpoint
    label: str
    methods: tuple[str, ...] = ("GET",)


class _Direct:
    """A known path that is asked as it should be: nearly every request, and a tenth of its time would go into the
    framework's walk through middleware and routes. All else takes that walk."""

    def __init__(self, app: ASGIApp, rows: Iterable[Row], handlers: Mapping[Any, Any]) -> None:
        self._app, self._handlers = app, handlers
        self._rows = {(method, row.path): row for row in rows for method in row.methods if "{" not in row.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        row = self._rows.get((scope["method"], scope["path"]))
        if row is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            answer = await row.answer(request)
        except Exception as error:
            handler = next((self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers), None)
            if handler is None or handler is self._handlers.get(Exception):
                raise  # a bug of ours, which ErrorBoundary answers and tells
            answer = await handler(request, error)
        await answer(scope, receive, send)


def application(rows: Iterable[Row], clock: Clock, handlers: Mapping[Any, Any] | None = None) -> ASGIApp:
    """Nothing is opened and no task is started."""
    rows, handlers = list(rows), dict(handlers or {})
    routes = [Route(row.path, row.answer, methods=list(row.methods)) for row in rows]
    app = Starlette(routes=routes, exception_handlers=handlers)
    # A redirect would be built from the caller's Host header.
    app.router.redirect_slashes = False
    return ErrorBoundary(_Direct(app, rows, handlers), {row.path: row.label for row in rows}, clock)
