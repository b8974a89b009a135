"""How settings are found and judged, whatever settings there are: core/settings.py names ours.

Values come from the environment (FEEDGEN_<SECTION>_<KEY>), else the file, else the default. Whatever is unknown, of the
wrong type or impossible is a `Problem`, and all are found before anything starts.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

import msgspec

from feedgen.core.config_values import ENV_PREFIX, MAX_SHOWN_CHARS, Field, Problem, Value, described, from_text, judge

# Variables of the same prefix that are not settings.
ENV_OTHERS: Final = frozenset({"FEEDGEN_PYTHON", "FEEDGEN_APP_PASSWORD"})
FILE_NAME: Final = "feedgen.toml"
MAX_FILE_BYTES: Final = 1_000_000


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections; its docstring is the section's explanation."""


T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """The settings and where each came from, or what is wrong with them."""

    settings: T | None
    origins: Mapping[str, str]
    problems: tuple[Problem, ...]
    path: Path | None

    def get(self) -> T:
        if self.settings is None or self.problems:
            raise self.problems[0].error(more=len(self.problems) - 1)
        return self.settings


def sections_of(root: type[msgspec.Struct]) -> dict[str, type[Section]]:
    return {
        name: kind
        for name, kind in get_type_hints(root).items()
        if isinstance(kind, type) and issubclass(kind, Section)
    }


def fields_of(root: type[msgspec.Struct]) -> list[Field]:
    """All keys of all sections, in the order they were written."""
    found = []
    for section, kind in sections_of(root).items():
        hints = get_type_hints(kind, include_extras=True)
        for info in msgspec.structs.fields(kind):
            type_, key = get_args(hints[info.name])[:2]
            if type(None) in get_args(type_):
                type_ = next(kind for kind in get_args(type_) if kind is not type(None))
            found.append(Field(section, info.name, type_, info.default, key))
    return found


def read_settings(
    root: type[T],
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    given: Collection[str] = (),
    elsewhere: Sequence[Path] = (),
) -> Loaded[T]:
    """Read all, judge all: every problem is found, not only the first.

    `folder` is where feedgen.toml is looked for, then the files `elsewhere`; `given` is what the command line says, as
    "section.key=value".
    """
    fields = {(f.section, f.name): f for f in fields_of(root)}
    file, problems = _find_file(path, folder or Path(), elsewhere)
    raw: dict[tuple[str, str], tuple[Any, str]] = {}
    if file is not None and not problems:
        problems += _read_file(file, fields, raw)
    problems += _read_env(os.environ if env is None else env, fields, raw)
    problems += _read_given(given, fields, raw)
    values: dict[str, dict[str, Value]] = {name: {} for name in sections_of(root)}
    origins = {f"{section}.{name}": "default" for section, name in fields}
    for (section, name), (value, origin) in raw.items():
        origins[f"{section}.{name}"] = origin
        problem = judge(fields[section, name], value, origin)
        if problem is not None:
            problems.append(problem)
        else:
            values[section][name] = tuple(value) if isinstance(value, list) else value
    if problems:
        return Loaded(None, MappingProxyType(origins), tuple(problems), file)
    return _assemble(root, values, origins, file)


def _assemble(
    root: type[T], values: dict[str, dict[str, Value]], origins: dict[str, str], file: Path | None
) -> Loaded[T]:
    settings = root(**{name: kind(**values[name]) for name, kind in sections_of(root).items()})
    for field in fields_of(root):
        # A default that the section filled in itself (Service.did).
        if field.name not in values[field.section] and shown_value(settings, field) != field.default:
            origins[f"{field.section}.{field.name}"] = "derived"
    problems: tuple[Problem, ...] = ()
    judge = getattr(settings, "problems", None)
    if judge is not None:
        problems = tuple(
            Problem(p.section, p.key, p.found, p.allowed, origins.get(f"{p.section}.{p.key}", p.origin))
            for p in judge()
        )
    return Loaded(settings, MappingProxyType(origins), problems, file)


def shown_value(settings: msgspec.Struct, field: Field) -> Value | None:
    value: Value | None = getattr(getattr(settings, field.section), field.name)
    return value


def _find_file(path: Path | None, folder: Path, elsewhere: Sequence[Path]) -> tuple[Path | None, list[Problem]]:
    if path is None:
        return next((file for file in (folder / FILE_NAME, *elsewhere) if os.access(file, os.R_OK)), None), []
    if not path.is_file():
        return None, [
            Problem(
                "",
                str(path),
                "is not a file",
                "Give --config the path of a settings file (TOML), or leave it out.",
                "--config",
            )
        ]
    return path, []


def _parse_file(path: Path) -> dict[str, Any]:
    """The file's tables; ValueError says why there are none."""
    import tomllib

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"can't be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not TOML: {error}") from error
    except RecursionError as error:
        raise ValueError("is not TOML: nested too deep") from error


def _read_file(
    path: Path, fields: dict[tuple[str, str], Field], raw: dict[tuple[str, str], tuple[Any, str]]
) -> list[Problem]:
    origin = str(path)
    try:
        tables = _parse_file(path)
    except ValueError as error:
        example = 'A settings file is text (TOML) with lines like `retention_days = 90`; text stands in "quotes".'
        return [Problem("", "", str(error), example, origin)]
    problems = []
    sections = {section for section, _ in fields}
    for section, table in tables.items():
        if section not in sections:
            problems.append(_unknown_section(section, table, sections, fields, origin))
            continue
        if not isinstance(table, dict):
            problems.append(
                Problem(
                    section,
                    "",
                    f"is {described(table)}, not a section",
                    f"Write a line [{section}] and its keys below it.",
                    origin,
                )
            )
            continue
        for name, value in table.items():
            if (section, name) in fields:
                raw[section, name] = (value, origin)
            else:
                problems.append(_unknown_key(section, name, fields, origin))
    return problems


def _unknown_section(
    section: str, table: object, sections: set[str], fields: dict[tuple[str, str], Field], origin: str
) -> Problem:
    if not isinstance(table, dict):
        homes = [f"[{s}]" for s, name in fields if name == section]
        allowed = (
            f"{section} belongs under {' or '.join(homes)}." if homes else f"Sections: {', '.join(sorted(sections))}."
        )
        return Problem("", section, "stands outside of a section", allowed, origin)
    return Problem("", f"[{section}]", "is not a known section", _nearest(section, sections, "[{}]"), origin)


def _unknown_key(section: str, name: str, fields: dict[tuple[str, str], Field], origin: str) -> Problem:
    here = [n for s, n in fields if s == section]
    elsewhere = [f"[{s}]" for s, n in fields if n == name]
    allowed = f"It belongs under {' or '.join(elsewhere)}." if elsewhere else _nearest(name, here)
    return Problem(section, name, "is not a known key", allowed, origin)


def _nearest(name: str, known: Collection[str], form: str = "{}") -> str:
    import difflib

    close = difflib.get_close_matches(name.lower()[:MAX_SHOWN_CHARS], known, n=1, cutoff=0.5)
    meant = f"Did you mean {form.format(close[0])}? " if close else ""
    return f"{meant}Known: {', '.join(form.format(k) for k in sorted(known))}."


def _read_env(
    env: Mapping[str, str], fields: dict[tuple[str, str], Field], raw: dict[tuple[str, str], tuple[Any, str]]
) -> list[Problem]:
    by_env = {field.env: field for field in fields.values()}
    problems = []
    for name in sorted(env):
        if not name.startswith(ENV_PREFIX) or name in ENV_OTHERS:
            continue
        field = by_env.get(name)
        if field is None:
            problems.append(_unknown_variable(name, by_env))
        else:
            raw[field.section, field.name] = (from_text(field, env[name]), name)
    return problems


def _unknown_variable(name: str, by_env: dict[str, Field]) -> Problem:
    import difflib

    close = difflib.get_close_matches(name[:MAX_SHOWN_CHARS], by_env, n=1, cutoff=0.5)
    meant = f"Did you mean {close[0]}? " if close else ""
    return Problem("", name, "is not a known setting", f"{meant}`feedgen config show` lists them all.", "environment")


def _read_given(
    given: Collection[str], fields: dict[tuple[str, str], Field], raw: dict[tuple[str, str], tuple[Any, str]]
) -> list[Problem]:
    by_name = {f"{field.section}.{field.name}": field for field in fields.values()}
    problems = []
    for text in given:
        name, equals, value = text.partition("=")
        field = by_name.get(name.strip())
        if field is None or not equals:
            problems.append(Problem("", text, "is not SECTION.KEY=VALUE", _nearest(name, by_name), "--set"))
        else:
            raw[field.section, field.name] = (from_text(field, value), "--set")
    return problems
