"""Asking the running service on its private address, for commands of the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import httpx

from feedgen.core.errors import FeedgenError

TIMEOUT_S: Final = 10.0


def ask_private(
    bind: str, path: str, query: Mapping[str, str], timeout_s: float = TIMEOUT_S, method: str = "GET"
) -> bytes:
    """The answer's body; a FeedgenError says why there is none."""
    if not bind:
        raise FeedgenError(
            "There is no private address to ask.",
            'Set [service] private_bind, "127.0.0.1:8091" for example, and start feedgen again.',
        )
    unix = bind.removeprefix("unix:")
    transport = httpx.HTTPTransport(uds=unix) if unix != bind else None
    url = f"http://localhost{path}" if unix != bind else f"http://{bind}{path}"
    try:
        with httpx.Client(transport=transport, timeout=timeout_s, trust_env=False) as client:
            answer = client.request(method, url, params=dict(query))
    except httpx.HTTPError as error:
        raise FeedgenError(f"Nobody answers on {bind}: {error}", "Is feedgen running, with these settings?") from error
    if answer.status_code != 200:
        raise FeedgenError(f"feedgen can't say: {answer.text.strip()}", "Look at its log.")
    return answer.content
