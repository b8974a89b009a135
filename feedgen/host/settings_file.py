"""Changing single values of a feedgen.toml, so that everything else in it stays as its owner wrote it."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from feedgen.core.config_values import toml_value
from feedgen.core.errors import FeedgenError

_SECTION = re.compile(r"\s*\[(?P<name>[^\[\]]+)\]\s*(#.*)?")


def with_value(text: str, section: str, key: str, value: object) -> str:
    """The file's text with one key set. ValueError when that can't be done line by line (a list over several lines)."""
    line = f"{key} = {toml_value(value)}"
    lines = text.splitlines()
    begin = next((i for i, old in enumerate(lines) if _names(old) == section), None)
    if begin is None:
        lines += ([""] if lines and lines[-1] else []) + [f"[{section}]", line]
    else:
        end = next((i for i in range(begin + 1, len(lines)) if _names(lines[i]) is not None), len(lines))
        at = next((i for i in range(begin + 1, end) if re.match(rf"\s*{re.escape(key)}\s*=", lines[i])), None)
        if at is not None:
            lines[at] = line
        else:
            while end > begin + 1 and not lines[end - 1].strip():
                end -= 1
            lines.insert(end, line)
    changed = "\n".join(lines) + "\n"
    try:
        before, after = tomllib.loads(text), tomllib.loads(changed)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(str(error)) from error
    before.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value
    if before != after:
        raise ValueError("another value would change")
    return changed


def set_value(path: Path, section: str, key: str, value: object) -> None:
    """Written whole or not at all."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        changed = with_value(text, section, key, value)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(changed, encoding="utf-8")
        draft.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(draft, path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise FeedgenError(
            f"can't set {key} in {path}: {why}", f"Write it yourself: {key} = {toml_value(value)} under [{section}]"
        ) from None


def _names(line: str) -> str | None:
    """The section that begins on this line."""
    found = _SECTION.fullmatch(line)
    return found["name"].strip() if found else None
