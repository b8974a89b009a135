"""What a running process can take over from changed settings, and what must wait for a restart."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from feedgen.core import logs
from feedgen.core.settings import Settings

AT_ONCE: Final = frozenset({"log.level", "log.format"})

log = logging.getLogger(__name__)


def differences(old: Settings, new: Settings) -> list[str]:
    """The keys, as `section.key`, whose values are not the same."""
    found = []
    for section in old.__struct_fields__:
        before, after = getattr(old, section), getattr(new, section)
        found += [f"{section}.{key}" for key in before.__struct_fields__ if getattr(before, key) != getattr(after, key)]
    return found


def take_over(old: Settings, new: Settings) -> Settings:
    """The settings that count from now on; what can't change is named in the log."""
    changed = differences(old, new)
    if AT_ONCE & set(changed):
        logs.setup(new.log.level, new.log.format)
    if waiting := [key for key in changed if key not in AT_ONCE]:
        log.warning("a restart is needed for: %s", ", ".join(waiting))
    log.info("settings were read again", extra={"changed": len(changed)})
    return msgspec.structs.replace(old, log=new.log)
