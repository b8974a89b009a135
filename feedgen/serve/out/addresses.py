"""Where a stranger's host leads.

The name is looked up here, every address must be public, and the connection goes to the very address that was checked:
a name that points elsewhere a moment later changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from feedgen.core.errors import UpstreamError

LOOK_UP_TIMEOUT_S: Final = 3.0

Lookup = Callable[[str], Awaitable[list[str]]]


class RefusedHost(Exception):
    """We don't ask this host, whoever sends us there."""


async def look_up(host: str) -> list[str]:
    """All addresses of a name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UpstreamError(f"can't look up a stranger's host: {error}") from None
    return [str(entry[4][0]) for entry in found]


async def checked_address(host: str, look_up: Lookup, is_public: Callable[[str], bool]) -> str:
    """Where a name leads. One private address among public ones is a trap, too."""
    try:
        async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
            addresses = await look_up(host)
    except TimeoutError:
        raise UpstreamError("looking up a stranger's host took too long") from None
    if not addresses or not all(is_public(address) for address in addresses):
        raise RefusedHost("the name leads to an address that is not public")
    return addresses[0]


def in_url(address: str) -> str:
    """An address as it is written in a URL."""
    return f"[{address}]" if ":" in address else address
