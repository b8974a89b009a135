"""Which hosts we may speak to when a stranger chose the name: public ones, and nothing that is near us.

A DID document's host is picked by whoever sends a token. Without these rules, anyone could make this machine ask its
router, its neighbours or itself.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_HOST: Final = 253

# Top names that never belong to a public host, and those that are only for examples and experiments.
_PRIVATE_TOPS: Final = frozenset(
    {"alt", "arpa", "corp", "example", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain"}
    | {"localhost", "onion", "private", "test"}
)
_V6_GLOBAL: Final = ip_network("2000::/3")
# IPv6 that carries an IPv4 address, which may be anything.
_V6_CARRIERS: Final = (ip_network("2002::/16"), ip_network("2001::/32"))


def is_public_host(host: str) -> bool:
    """A DNS name of at least two labels, in lower case, without port, credentials or final dot; never an address."""
    labels = host.split(".")
    return (
        len(host) <= MAX_HOST
        and len(labels) >= 2
        and all(_LABEL.fullmatch(label) for label in labels)
        # No top name begins with a digit, but every way of writing an IPv4 address ends in a number.
        and not labels[-1][0].isdigit()
        and labels[-1] not in _PRIVATE_TOPS
    )


def is_public_address(text: str) -> bool:
    """Whether an address is out on the internet."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and not _is_plain_v6(address):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_plain_v6(address: IPv6Address) -> bool:
    return address in _V6_GLOBAL and not any(address in carrier for carrier in _V6_CARRIERS)


def public_origin(url: str) -> str:
    """`https://host` of an endpoint in a DID document; empty unless it is exactly that, and public."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").lower()
    plain = not (parts.query or parts.fragment or parts.username or parts.password) and parts.path in ("", "/")
    if parts.scheme != "https" or port not in (None, 443) or not plain or not is_public_host(host):
        return ""
    return f"https://{host}"


def did_web_host(did: str) -> str:
    """The host of a did:web; empty when it names a path, a port, or a host that we don't ask."""
    host = did.removeprefix("did:web:").lower()
    return host if is_public_host(host) else ""
