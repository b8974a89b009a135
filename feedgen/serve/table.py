"""A table of routes: what both addresses are made of, rows of their own and rows that others bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from feedgen.core.clock import Clock
from feedgen.serve.edge import Edge

Endpoint = Callable[[Request], Awaitable[Response]]


class Row(NamedTuple):
    """`label` is the path's name in the metrics."""

    path: str
    answer: Endpoint
    label: str
    methods: tuple[str, ...] = ("GET",)


def application(rows: Iterable[Row], clock: Clock, handlers: Mapping[Any, Any] | None = None) -> ASGIApp:
    """Nothing is opened and no task is started."""
    rows = list(rows)
    routes = [Route(row.path, row.answer, methods=list(row.methods)) for row in rows]
    app = Starlette(routes=routes, exception_handlers=dict(handlers or {}))
    # A redirect would be built from the caller's Host header.
    app.router.redirect_slashes = False
    return Edge(app, {row.path: row.label for row in rows}, clock)
