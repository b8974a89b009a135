"""What a text setting may be.

A check returns "" when the text is fine, and otherwise says in a few words what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from feedgen.core.ids import POST_NSID, is_did, is_plc, is_rkey, parse_at_uri

Check = Callable[[str], str]

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_STREAM_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39} [0-9]{1,6} [0-9a-f]{64}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")

HOST_NAME: Final = "a DNS name like feed.example.com (no scheme, no port)"
HOST: Final = "a name like vps, or an address like 100.64.0.2"
DID: Final = "a DID like did:plc:... or did:web:feed.example.com"
BIND: Final = "host:port like 127.0.0.1:8090 or [::1]:0, or unix:/path/of/a/socket"
PROXY: Final = "an address like 100.64.0.2, a network like 10.0.0.0/24 (not the whole internet), or unix"
FOLDER: Final = "the path of a folder"
NAME: Final = "up to 24 small letters, digits and hyphens"
ACCOUNT: Final = "a handle like you.bsky.social, without @, or a DID"
STREAM_TOKEN: Final = "a name, a rate and a hash, as `feedgen stream token add` writes them"
FEED_WORDS: Final = "for-you=what is meant: a feed's name, =, and text"


def or_nothing(check: Check) -> Check:
    """The same check, but the empty text is fine too."""

    def checked(text: str) -> str:
        allowed = check(text) if text else ""
        return f"{allowed}, or nothing" if allowed else ""

    return checked


def is_host_name(text: str) -> bool:
    labels = text.split(".")
    # A name whose last label is a number would be read as an IPv4 address.
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()


def is_host(text: str) -> bool:
    """A DNS name or an IP address without brackets."""
    if is_host_name(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_host(text: str) -> str:
    return "" if is_host(text) else HOST


def check_host_name(text: str) -> str:
    return "" if is_host_name(text) else HOST_NAME


def check_name(text: str) -> str:
    return "" if _NAME.fullmatch(text) else NAME


def check_did(text: str) -> str:
    if not is_did(text) or (text.startswith("did:plc:") and not is_plc(text)):
        return DID
    if text.startswith("did:web:"):
        # atproto's did:web has a host and, on localhost only, a port; never a path.
        host, _, port = text.removeprefix("did:web:").partition("%3A")
        return "" if is_host_name(host) and (not port or (host == "localhost" and _is_port(port))) else DID
    return ""


def check_http_url(text: str) -> str:
    return "" if _is_url(text, ("http", "https")) else "an http:// or https:// URL without a password in it"


def check_websocket_url(text: str) -> str:
    return "" if _is_url(text, ("ws", "wss")) else "a ws:// or wss:// URL without a password in it"


def check_subject(text: str) -> str:
    parsed = parse_at_uri(text)
    post = parsed is not None and parsed.collection == POST_NSID
    return "" if post or (text.startswith("did:") and is_did(text)) else "a DID, or the at-uri of a post (with a DID)"


def check_bind(text: str) -> str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # The kernel's limit for a socket's path is 107 bytes.
        return "" if path and "\0" not in path and len(path.encode(errors="replace")) <= 107 else BIND
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    # An IPv6 address needs its brackets here, and nothing else may have them.
    if not _is_port(port) or bracketed != (":" in host):
        return BIND
    return "" if is_host(host[1:-1] if bracketed else host) else BIND


def check_proxy(text: str) -> str:
    if text == "unix":
        return ""
    try:
        # Trusting every address would let each caller choose who it is.
        return "" if ipaddress.ip_network(text).prefixlen > 0 else PROXY
    except ValueError:
        return PROXY


def check_account(text: str) -> str:
    return "" if is_did(text) or ("." in text and is_host_name(text)) else ACCOUNT


def check_feed_words(text: str) -> str:
    name, equals, words = text.partition("=")
    return "" if equals and is_rkey(name) and words.strip() and "\0" not in words else FEED_WORDS


def check_stream_token(text: str) -> str:
    return "" if _STREAM_TOKEN.fullmatch(text) else STREAM_TOKEN


def check_folder(text: str) -> str:
    return "" if text and "\0" not in text else FOLDER


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    if not _PRINTABLE.fullmatch(text) or len(text) > 2000:
        return False
    try:
        url = urlsplit(text)
        return url.scheme in schemes and _is_plain(url)
    except ValueError:  # a port or a bracket that makes no sense
        return False


def _is_plain(url: SplitResult) -> bool:
    """A host, perhaps a port and a path: no user, password, query or fragment."""
    odd = url.query or url.fragment or url.username is not None or url.password is not None
    return not odd and url.hostname is not None and is_host(url.hostname) and url.port != 0
