"""Feeds in files: which there are, what each defines, and what is wrong with the others, by file and line.

A file that is broken is named and left out; all others are used. Nothing here touches what is being served.
"""

from __future__ import annotations

import os
import tomllib
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from feedgen.core.errors import FeedgenError, SettingsError
from feedgen.feeds.toml import definitions_in
from feedgen.feeds.write import DEFINITION, Definition, Tag

ENTRY_POINTS: Final = "feedgen.feeds"
MAX_FILE_BYTES: Final = 256_000
MAX_FILES: Final = 200
SUFFIXES: Final = (".py", ".toml")


class Broken(NamedTuple):
    file: str
    line: int  # 0: not known
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(slots=True)
class Found:
    """All that files and packages define."""

    feeds: dict[str, Definition] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)  # the file of each tag
    broken: list[Broken] = field(default_factory=list)

    @property
    def patterns(self) -> set[str]:
        return {pattern for tag in self.tags.values() for pattern in tag.patterns}

    def add(self, file: str, definitions: Iterable[Definition], tags: Iterable[Tag], taken: Iterable[str]) -> None:
        """All of a file, or nothing of it. Raises SettingsError."""
        definitions, tags, known = list(definitions), list(tags), dict(self.tags)
        for tag in tags:
            other = known.setdefault(tag.name, tag)
            if other != tag:
                raise SettingsError(
                    f"the tag {tag.name!r} is defined twice with other words ({self.where.get(tag.name, file)})",
                    "give one of them another name",
                )
        names = [definition.name for definition in definitions]
        for name in names:
            if name in taken or name in self.feeds or names.count(name) > 1:
                where = self.feeds[name].file if name in self.feeds else file if names.count(name) > 1 else "feedgen"
                raise SettingsError(
                    f"two feeds have the name {name!r} ({where})", "the name is the record key: choose another"
                )
        self.tags |= {tag.name: tag for tag in tags}
        self.where |= {tag.name: file for tag in tags}
        self.feeds |= {one.name: replace(one, file=one.file or file) for one in definitions}


def find_feeds(folder: Path | None, taken: Iterable[str] = (), packages: bool = True) -> Found:
    """Everything in the folder and in installed packages. Never raises for what is wrong with a feed."""
    found, taken = Found(), frozenset(taken)
    for file, load in (*_files(folder, found), *(_packages() if packages else ())):
        try:
            definitions, tags = load()
            found.add(file, definitions, tags, taken)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            found.broken.append(broken(file, error))
    return found


def load_file(path: Path) -> tuple[list[Definition], list[Tag]]:
    """What one file defines. Raises whatever its code raises."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SettingsError(f"it is larger than {MAX_FILE_BYTES:,} bytes", "keep data in a file of its own")
    text = path.read_text("utf-8")
    if path.suffix == ".toml":
        return definitions_in(tomllib.loads(text), str(path), text)
    module = ModuleType(f"feedgen_feed_{path.stem.replace('-', '_')}")
    module.__file__ = str(path)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return _defined(vars(module).values())


def _defined(values: Iterable[Any]) -> tuple[list[Definition], list[Tag]]:
    values = list(values)
    definitions = {
        id(one): getattr(one, DEFINITION) for one in values if isinstance(getattr(one, DEFINITION, None), Definition)
    }
    tags = [one for one in values if isinstance(one, Tag)]
    patterns = frozenset(pattern for tag in tags for pattern in tag.patterns)
    if not definitions and not tags:
        raise SettingsError("it defines no feed", 'write @feed("name", title="…", about="…") before a function')
    return [replace(one, patterns=patterns) for one in definitions.values()], tags


def _files(folder: Path | None, found: Found) -> Iterator[tuple[str, Any]]:
    if folder is None or not folder.exists():
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        found.broken.append(Broken(str(folder), 0, f"it can't be read: {error.strerror}"))
        return
    names = [name for name in names if name.endswith(SUFFIXES) and not name.startswith((".", "_"))]
    if len(names) > MAX_FILES:
        found.broken.append(Broken(str(folder), 0, f"only the first {MAX_FILES} files are used"))
    for name in names[:MAX_FILES]:
        path = folder / name
        yield str(path), lambda path=path: load_file(path)


def _packages() -> Iterator[tuple[str, Any]]:
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):

        def load(point: metadata.EntryPoint = point) -> tuple[list[Definition], list[Tag]]:
            loaded = point.load()
            values = vars(loaded).values() if isinstance(loaded, ModuleType) else [loaded]
            definitions, tags = _defined(values)
            return [replace(one, file=point.value) for one in definitions], tags

        yield point.value, load


def broken(file: str, error: BaseException) -> Broken:
    """Where in the file it went wrong, and why, in one line."""
    line = 0
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno or 0
    elif isinstance(error, tomllib.TOMLDecodeError):
        line = _line_in(str(error))
    else:
        lines = [at.lineno or 0 for at in traceback.extract_tb(error.__traceback__) if at.filename == file]
        line = lines[-1] if lines else getattr(error, "line", 0)
    return Broken(file, line, reason(error))


def reason(error: BaseException) -> str:
    if isinstance(error, FeedgenError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, OSError) and error.strerror:
        return f"it can't be read: {error.strerror}"
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return f"{type(error).__name__}: {error}"[:500]


def _line_in(text: str) -> int:
    """What tomllib says: "... (at line 3, column 7)"."""
    _, _, rest = text.rpartition("at line ")
    digits = rest.partition(",")[0]
    return int(digits) if digits.isdigit() else 0
