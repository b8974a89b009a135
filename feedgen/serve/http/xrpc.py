"""The small words of XRPC over HTTP: errors, JSON answers, and query strings that are not to be trusted.

Error names are those of Bluesky's own servers, because the AppView passes them on to people's apps as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

MAX_QUERY_BYTES: Final = 4096
MAX_QUERY_FIELDS: Final = 32
MAX_LANGUAGES: Final = 10
MAX_ACCEPT_LANGUAGE_BYTES: Final = 512

# Anyone may call public XRPC from a web page; there are no cookies to protect.
CORS: Final = {"access-control-allow-origin": "*"}
_PREFLIGHT: Final = {
    **CORS,
    "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
    # A star alone does not cover Authorization.
    "access-control-allow-headers": "authorization, content-type, *",
    "access-control-max-age": "86400",
}


class XrpcError(Exception):
    """What a caller is told: a status, one of the known names, and a sentence."""

    def __init__(self, status: int, name: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.name, self.message = status, name, message
        self.headers = headers


def invalid_request(message: str) -> XrpcError:
    return XrpcError(400, "InvalidRequest", message)


def overloaded() -> XrpcError:
    return XrpcError(503, "NotEnoughResources", "Too busy just now", {"retry-after": "2"})


def rate_limited(after_s: int = 10) -> XrpcError:
    return XrpcError(429, "RateLimitExceeded", "Rate Limit Exceeded", {"retry-after": str(after_s)})


class _ErrorBody(msgspec.Struct, frozen=True):
    error: str
    message: str


def error_body(name: str, message: str) -> bytes:
    return msgspec.json.encode(_ErrorBody(name, message))


def error_answer(error: XrpcError) -> Response:
    return json_answer(error_body(error.name, error.message), error.status, error.headers)


def json_answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`application/json` with nothing after it, which is what the AppView wants to see."""
    return Response(body, status, {**CORS, **headers} if headers else CORS, "application/json")


def preflight_answer() -> Response:
    return Response(b"", 204, _PREFLIGHT)


def query_of(request: Request) -> dict[str, str]:
    """The query as text; of a repeated key the first value counts, as in Bluesky's server."""
    raw: bytes = request.scope["query_string"]
    if len(raw) > MAX_QUERY_BYTES:
        raise XrpcError(414, "InvalidRequest", f"The query is longer than {MAX_QUERY_BYTES} bytes")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:  # UnicodeError is one too
        raise invalid_request("The query can't be read") from None
    values: dict[str, str] = {}
    for key, value in pairs:
        values.setdefault(key, value)
    return values


def integer(query: dict[str, str], key: str, low: int, high: int, default: int) -> int:
    text = query.get(key)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise invalid_request(f"Error: Params must have the property {key!r} as an integer")
    value = int(text)
    if value < low:
        raise invalid_request(f"Error: {key} can not be less than {low}")
    if value > high:
        raise invalid_request(f"Error: {key} can not be greater than {high}")
    return value


def languages_of(request: Request) -> tuple[str, ...]:
    """Accept-Language as primary tags ("en", "pt"), best first; anything odd in it is skipped."""
    return _languages(request.headers.get("accept-language", "")[:MAX_ACCEPT_LANGUAGE_BYTES])


@lru_cache(maxsize=1024)
def _languages(header: str) -> tuple[str, ...]:
    wanted: dict[str, float] = {}
    for part in header.split(",")[: 4 * MAX_LANGUAGES]:
        tag, _, parameters = part.partition(";")
        primary = tag.strip().split("-")[0].lower()
        if not (2 <= len(primary) <= 3 and primary.isascii() and primary.isalpha()):
            continue
        weight = _weight(parameters)
        if weight > 0:
            wanted.setdefault(primary, weight)
    return tuple(sorted(wanted, key=lambda tag: -wanted[tag]))[:MAX_LANGUAGES]


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    value = value.strip()
    if len(value) > 5 or not value.replace(".", "", 1).isdigit() or not value.isascii():
        return 0.0
    return min(float(value), 1.0)


async def body_of(request: Request, max_bytes: int) -> bytes:
    """The body, refused as soon as it is known to be too long."""
    too_long = XrpcError(413, "PayloadTooLarge", f"The body is longer than {max_bytes} bytes")
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 12 or int(length) > max_bytes):
        raise too_long
    chunks: list[bytes] = []
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > max_bytes:
            raise too_long
        chunks.append(chunk)
    return b"".join(chunks)
