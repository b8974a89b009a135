"""Settings as text for people: as a file with origins, and as the documentation's table."""

from __future__ import annotations

from inspect import cleandoc
from typing import TypeVar

import msgspec

from feedgen.core.config import Loaded, fields_of, sections_of, shown_value
from feedgen.core.config_values import toml_value

T = TypeVar("T", bound=msgspec.Struct)


def show(loaded: Loaded[T]) -> str:
    """A complete settings file: every value, and where it came from as a comment. Secrets are hidden."""
    settings = loaded.get()
    lines: list[str] = []
    section = ""
    for field in fields_of(type(settings)):
        if field.section != section:
            section = field.section
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        value = shown_value(settings, field)
        if value is None:
            lines.append(f"# {field.name} is not set")
            continue
        text = toml_value("***" if field.key.secret and value else value)
        lines.append(f"{field.name} = {text}  # {loaded.origins[f'{field.section}.{field.name}']}")
    return "\n".join(lines) + "\n"


def document(root: type[msgspec.Struct]) -> str:
    """docs/settings.md: one table a section."""
    lines = [
        "# Settings",
        "",
        "Made by `feedgen config docs` out of `feedgen/core/settings.py`.",
        "",
        "One file, `feedgen.toml` (`--config`, else `./feedgen.toml`, else all defaults). Each key can also be",
        "given as `FEEDGEN_<SECTION>_<KEY>` in the environment, which wins over the file (a list with commas), and as",
        "`--set section.key=value`, which wins over both. `feedgen config show` prints all values and their origins,",
        "`feedgen config check` says what is wrong.",
    ]
    kinds = sections_of(root)
    section = ""
    for field in fields_of(root):
        if field.section != section:
            section = field.section
            lines += ["", f"## [{section}]", "", cleandoc(kinds[section].__doc__ or ""), ""]
            lines += ["| key | default | allowed | unit | meaning |", "|---|---|---|---|---|"]
        default = (
            ""
            if field.default is None
            else ", ".join(field.default)
            if isinstance(field.default, tuple)
            else toml_value(field.default)
        )
        secret = " Secret: never shown." if field.key.secret else ""
        cells = (
            f"`{field.name}`",
            f"`{default}`" if field.default is not None else "",
            field.allowed,
            field.key.unit,
            field.key.doc + secret,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
