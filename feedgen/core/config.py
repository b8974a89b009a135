"""How settings are found and judged, whatever settings there are: core/settings.py names ours.

Values come from the environment (FEEDGEN_<SECTION>_<KEY>), else the file, else the default. Whatever is unknown, of the
wrong type or impossible is a `Problem`, and all are found before anything starts.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from feedgen.core.errors import SettingsError

ENV_PREFIX: Final = "FEEDGEN_"
# Variables of the same prefix that are not settings.
ENV_OTHERS: Final = frozenset({"FEEDGEN_PYTHON", "FEEDGEN_APP_PASSWORD"})
FILE_NAME: Final = "feedgen.toml"
MAX_FILE_BYTES: Final = 1_000_000
MAX_ITEMS: Final = 100
MAX_SHOWN_CHARS: Final = 300

Value = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """What a setting means and what it may be."""

    doc: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    check: Callable[[str], str] | None = None  # "" or what is allowed; for a list, asked of each item
    min_items: int = 0
    max_items: int = MAX_ITEMS


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections; its docstring is the section's explanation."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what was found, and what is allowed."""

    section: str
    key: str
    found: str
    allowed: str
    origin: str = "settings"

    def error(self, more: int = 0) -> SettingsError:
        where = " ".join(part for part in (self.section and f"[{self.section}]", self.key, self.found) if part)
        where = "".join(c if c.isprintable() else "?" for c in where[:MAX_SHOWN_CHARS])
        also = f" ({more} more: `feedgen config check` lists all)" if more else ""
        return SettingsError(f"{self.origin}: {where}", f"{self.allowed}{also}")


@dataclass(frozen=True, slots=True)
class Field:
    """A key as the machinery sees it."""

    section: str
    name: str
    type: Any
    default: Value | None  # None: something else decides, as the key's documentation says
    key: Key

    @property
    def env(self) -> str:
        return f"{ENV_PREFIX}{self.section}_{self.name}".upper()

    @property
    def type_name(self) -> str:
        return (
            "list of text"
            if self.is_list
            else {str: "text", int: "whole number", float: "number", bool: "true or false"}[self.type]
        )

    @property
    def is_list(self) -> bool:
        return get_origin(self.type) is tuple

    @property
    def allowed(self) -> str:
        """What the value may be, in a few words."""
        key = self.key
        if key.choices:
            return ", ".join(f'"{c}"' for c in key.choices)
        unit = f" {key.unit}" if key.unit else ""
        if key.low is not None and key.high is not None:
            return f"a {self.type_name} from {key.low:g} to {key.high:g}{unit}"
        if key.low is not None:
            return f"a {self.type_name} of {key.low:g} or more{unit}"
        if key.check is not None:
            what = key.check("\0")  # a checker names what it would take when it refuses
            return f"a list ({key.min_items} to {key.max_items}) of {what}" if self.is_list else what
        return {"list of text": "a list of text", "true or false": "true or false"}.get(
            self.type_name, f"a {self.type_name}{unit}"
        )


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
                    f"is {_describe(table)}, not a section",
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


def from_text(field: Field, text: str) -> object:
    """A value out of the environment; text that does not fit stays text and is refused by its type."""
    if field.is_list:
        return [item.strip() for item in text.split(",") if item.strip()]
    if field.type is bool:
        return {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }.get(text.strip().lower(), text)
    if field.type in (int, float):
        try:
            return field.type(text)
        except ValueError:
            return text
    return text


def judge(field: Field, value: Any, origin: str) -> Problem | None:
    """Is this value of the right type, and possible?"""

    def wrong(found: str) -> Problem:
        hidden = "has a value that" if field.key.secret else found
        return Problem(
            field.section,
            field.name,
            f"{hidden} is not allowed",
            f"Allowed: {field.allowed}.{_closest_choice(field, value)}",
            origin,
        )

    key = field.key
    if field.is_list:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return wrong(f"= {_describe(value)}")
        if not key.min_items <= len(value) <= key.max_items:
            return wrong(f"with {len(value)} items")
        bad = next((item for item in value if key.check is not None and key.check(item)), None)
        return wrong(f"= {_describe(bad)}") if bad is not None else None
    # A bool is an int to Python, but not to people; a whole number is fine where any number is.
    fits = type(value) is field.type or (field.type is float and type(value) is int)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        return wrong(f"= {_describe(value)}")
    out_of_range = isinstance(value, int | float) and not (
        (key.low is None or value >= key.low) and (key.high is None or value <= key.high)
    )
    bad_choice = key.choices and value not in key.choices
    if out_of_range or bad_choice or (key.check is not None and key.check(value)):
        return wrong(f"= {_describe(value)}")
    return None


def _closest_choice(field: Field, value: object) -> str:
    import difflib

    close = (
        difflib.get_close_matches(value.lower()[:MAX_SHOWN_CHARS], field.key.choices, n=1)
        if isinstance(value, str)
        else []
    )
    return f' Did you mean "{close[0]}"?' if close else ""


def _describe(value: object) -> str:
    """What was found, short and on one line."""
    text = toml_value(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def toml_value(value: object) -> str:
    """A value as one would write it in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # The environment may hold bytes that are no text; TOML wants DEL escaped, JSON does not.
        whole = value.encode("utf-8", "backslashreplace")
        return msgspec.json.encode(whole.decode()).decode().replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"  # Python refuses to spell out thousands of digits
    return str(value)
