"""What is answered where nothing is, or not with this method: a page to browsers, XRPC's words to everybody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from feedgen.serve.http.routing import Endpoint
from feedgen.serve.http.xrpc import XrpcError, error_answer

XRPC: Final = "/xrpc/"
_VARY: Final = {"vary": "accept"}


def not_found(page: Endpoint | None) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Handles what starlette itself refuses. `page` makes the page; without one nobody gets one."""

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if page is not None and error.status_code == 404 and _is_browser(request):
            return await page(request)
        return error_answer(_as_xrpc(request, error))

    return answer


def _is_browser(request: Request) -> bool:
    return not request.scope["path"].startswith(XRPC) and "text/html" in request.headers.get("accept", "").lower()


def _as_xrpc(request: Request, error: HTTPException) -> XrpcError:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return XrpcError(405, "InvalidRequest", "Incorrect HTTP method", {"allow": f"{allowed}, OPTIONS"})
    if error.status_code == 404 and request.scope["path"].startswith(XRPC):
        return XrpcError(501, "MethodNotImplemented", "Method Not Implemented")
    if error.status_code == 404:
        return XrpcError(404, "NotFound", "Nothing is here", _VARY)
    return XrpcError(error.status_code, "InvalidRequest", "The request can't be answered")
