"""One value of the settings: what it may be, and whether what was found is that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_origin

import msgspec

from feedgen.core.errors import SettingsError

ENV_PREFIX: Final = "FEEDGEN_"
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
            return wrong(f"= {described(value)}")
        if not key.min_items <= len(value) <= key.max_items:
            return wrong(f"with {len(value)} items")
        bad = next((item for item in value if key.check is not None and key.check(item)), None)
        return wrong(f"= {described(bad)}") if bad is not None else None
    # A bool is an int to Python, but not to people; a whole number is fine where any number is.
    fits = type(value) is field.type or (field.type is float and type(value) is int)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        return wrong(f"= {described(value)}")
    out_of_range = isinstance(value, int | float) and not (
        (key.low is None or value >= key.low) and (key.high is None or value <= key.high)
    )
    bad_choice = key.choices and value not in key.choices
    if out_of_range or bad_choice or (key.check is not None and key.check(value)):
        return wrong(f"= {described(value)}")
    return None


def _closest_choice(field: Field, value: object) -> str:
    import difflib

    close = (
        difflib.get_close_matches(value.lower()[:MAX_SHOWN_CHARS], field.key.choices, n=1)
        if isinstance(value, str)
        else []
    )
    return f' Did you mean "{close[0]}"?' if close else ""


def described(value: object) -> str:
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
