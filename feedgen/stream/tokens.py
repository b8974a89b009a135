"""Who may listen: names with a rate and the hash of a token, as the settings have them. Tokens are kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

from feedgen.core.checks import check_stream_token

PREFIX: Final = "fgs_"
_ROW = re.compile(r"(\S+) (\d+) ([0-9a-f]{64})")


class Holder(NamedTuple):
    name: str
    rate: int  # messages a second; 0: as many as there are


NOBODY_ASKED: Final = Holder("anybody", 0)


def make(name: str, rate: int) -> tuple[str, str]:
    """A new token, and its row for the settings."""
    token = PREFIX + secrets.token_urlsafe(24)
    row = f"{name} {rate} {_digest(token)}"
    assert not check_stream_token(row)
    return token, row


class Tokens:
    def __init__(self, rows: Iterable[str]) -> None:
        found = (_ROW.fullmatch(row) for row in rows)
        self._by_hash = {row[3]: Holder(row[1], int(row[2])) for row in found if row is not None}

    def holder(self, token: str) -> Holder | None:
        """None: refused. Without any rows, everybody may."""
        if not self._by_hash:
            return NOBODY_ASKED
        digest = _digest(token[:200])
        return next((holder for known, holder in self._by_hash.items() if hmac.compare_digest(known, digest)), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
