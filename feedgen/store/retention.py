"""How long we remember. An old day goes by unlinking its files: no DELETE, no VACUUM, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from feedgen.core.errors import SettingsError

# A rating may refer to a post that its day numbered as long ago as the window is wide, so twice the window must fit
# into the 256 slots.
MAX_RETENTION_DAYS: Final = 120


def expired(days: Iterable[int], today: int, retention_days: int) -> list[int]:
    """The days to drop, oldest first: all but the newest `retention_days`, today included."""
    if not 1 <= retention_days <= MAX_RETENTION_DAYS:
        raise SettingsError(f"retention of {retention_days} days is impossible", f"choose 1 to {MAX_RETENTION_DAYS}")
    return sorted(day for day in days if day <= today - retention_days)
