"""What people paste to name an account or a post: a handle, a DID, an at-uri, or the address of a page in the app.

`parse_name` is the one parser for all of them. Whether a handle is somebody's is for serve/out/handles to say.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from feedgen.core.ids import POST_NSID, AtUri, is_did, is_rkey

MAX_NAME: Final = 3000  # characters
ACCOUNT: Final = "a handle like alice.example.com, a DID like did:plc:..., or the address of a profile"
POST: Final = "the address of its page in the app, or its at-uri"

_HANDLE: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PAGE: Final = re.compile(r"/profile/([^/]+)(?:/post/([^/]+)(?:/[a-z-]+)?)?/?")  # a post has /liked-by and the like
_SCHEME: Final = re.compile(r"[a-z]+://", re.IGNORECASE)
# Apps put these around handles, and they come along when text is copied.
_INVISIBLE: Final = dict.fromkeys(
    [0x200B, 0x2060, 0xFEFF, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


class Name(NamedTuple):
    """Of an account (`rkey` is empty) or a post. `authority` is a DID, or a handle in lower case."""

    authority: str
    rkey: str = ""

    @property
    def has_did(self) -> bool:
        return self.authority.startswith("did:")

    def subject(self, did: str) -> str:
        """What is named, as a DID or an at-uri, once it is known whose the handle is."""
        return str(AtUri(did, POST_NSID, self.rkey)) if self.rkey else did


def is_handle(text: str) -> bool:
    return len(text) <= 253 and _HANDLE.fullmatch(text) is not None


def parse_name(text: str) -> Name | None:
    """None for anything that names neither an account nor a post."""
    text = text.translate(_INVISIBLE).strip()
    if not text or len(text) > MAX_NAME:
        return None
    if text.startswith("at://"):
        return _of_at_uri(text[5:])
    if "/" not in text:
        return _named(text.lstrip("@"), "")
    try:
        parts = urlsplit(text if _SCHEME.match(text) else f"https://{text}")
        found = _PAGE.fullmatch(parts.path) if parts.scheme == "https" and parts.hostname else None
    except ValueError:  # brackets that make no sense
        return None
    return _named(unquote(found[1]), unquote(found[2] or "")) if found else None


def _of_at_uri(rest: str) -> Name | None:
    authority, _, rest = rest.partition("/")
    collection, _, rkey = rest.partition("/")
    if rest and (collection != POST_NSID or not rkey):
        return None
    return _named(authority, rkey)


def _named(authority: str, rkey: str) -> Name | None:
    if not is_did(authority):  # a did:web may hold a %3A of its own
        authority = unquote(authority).lstrip("@")
    authority = authority if authority.startswith("did:") else authority.lower()
    known = is_did(authority) or is_handle(authority)
    return Name(authority, rkey) if known and (not rkey or is_rkey(rkey)) else None
