"""Changing single values of a feedgen.toml, so that everything else in it stays as its owner wrote it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

import tomlkit

from feedgen.core.config_values import toml_value
from feedgen.core.errors import FeedgenError


def with_value(text: str, section: str, key: str, value: object) -> str:
    """The file's text with one key set. ValueError for what is no settings file."""
    document = tomlkit.parse(text)
    if section not in document:
        if text.strip():
            document.add(tomlkit.nl())
        document[section] = tomlkit.table()
    table = document[section]
    if not isinstance(table, MutableMapping):
        raise ValueError(f"{section} is no section")
    table[key] = list(value) if isinstance(value, tuple) else value
    return tomlkit.dumps(document)


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
