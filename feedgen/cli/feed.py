"""`feedgen feed`: write, check, try out and list feeds of your own (docs/feeds.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from feedgen.cli.group import EXIT_SETTINGS, beside, cli, imported, read, settings_options
from feedgen.core.errors import FeedgenError, SettingsError

if TYPE_CHECKING:
    from feedgen.core.settings import Settings

PYTHON: Final = '''"""{title}: say here what it is for."""

from feedgen import Ask, feed, tag

cats = tag("{name}", hashtags=["cats", "caturday"], words=["my cat"])


@feed("{name}", title="{title}", about="Cats that people with your taste like.")
def posts(ask: Ask):
    return ask.colikers().only(cats) + ask.newest(cats).share(0.2)
'''
TOML: Final = """# docs/feeds.md lists all keys.
[feed.{name}]
title = "{title}"
about = "New posts about cats."
any = {{ hashtags = ["cats", "caturday"], words = ["my cat"] }}
order = "newest"         # newest, popular, trending, for-you, one-each
hours = 48
"""


@cli.group()
def feed() -> None:
    """Feeds of your own: files in the folder `feeds` beside feedgen.toml."""


@feed.command("new")
@click.argument("name")
@click.option("--toml", is_flag=True, help="Without code.")
@settings_options
def new(name: str, toml: bool, config: Path | None, set_: tuple[str, ...]) -> None:
    """Write a file that works, to be changed.

    It serves posts about cats until you change its words. `feedgen feed reload` has the running service take it over.
    """
    if not imported("feedgen.feeds.write:is_name")(name):
        raise SettingsError(f"{name!r} can't be a feed's name.", "1 to 64 small letters, digits and dashes.")
    folder = beside(read(config, set_)).feeds.folder
    path = folder / f"{name}{'.toml' if toml else '.py'}"
    if path.exists():
        raise FeedgenError(f"{path} is there already.", "Choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    text = (TOML if toml else PYTHON).format(name=name, title=name.replace("-", " ").capitalize())
    path.write_text(text)
    click.echo(f"{path}\nTry it: feedgen feed try {path} --as you.bsky.social")


@feed.command("check")
@settings_options
@click.pass_context
def check(ctx: click.Context, config: Path | None, set_: tuple[str, ...]) -> None:
    """Load all feeds and say what is wrong, with file and line. Exit code 0 when all are well, else 2."""
    folder = beside(read(config, set_)).feeds.folder
    found = imported("feedgen.feeds.files:find_feeds")(folder, imported("feedgen.feeds.registry:OURS"))
    for one in found.broken:
        click.echo(str(one), err=True)
    click.echo(f"{folder}: {len(found.feeds)} feeds, {len(found.broken)} broken.")
    if found.broken:
        ctx.exit(EXIT_SETTINGS)


@feed.command("list")
@settings_options
def list_(config: Path | None, set_: tuple[str, ...]) -> None:
    """Show the feeds that the running service serves, where each comes from, and what is wrong."""
    _show(_asked(beside(read(config, set_)), "/feeds.json", {}, "GET"))


@feed.command("reload")
@settings_options
@click.pass_context
def reload(ctx: click.Context, config: Path | None, set_: tuple[str, ...]) -> None:
    """Have the running service take over all files of feeds. SIGHUP does the same."""
    told = _asked(beside(read(config, set_)), "/feeds/reload.json", {}, "POST")
    _show(told)
    if told["broken"]:
        ctx.exit(EXIT_SETTINGS)


@feed.command("try")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "reader", required=True, metavar="HANDLE", help="Whose list: a handle or a DID.")
@settings_options
def try_(file: Path, reader: str, config: Path | None, set_: tuple[str, ...]) -> None:
    """Show what a feed would serve now, why, and what its rules drop; nothing is served or marked as seen.

    The file lies in the folder of feeds. Posts that match its words are known from the moment on at which the service
    has loaded it (`feedgen feed reload`).
    """
    settings = beside(read(config, set_))
    if file.absolute().parent.resolve() != settings.feeds.folder.absolute().resolve():
        raise FeedgenError(f"{file} is not in {settings.feeds.folder}.", "Only files in the folder of feeds are run.")
    told = _asked(settings, "/feeds/try.json", {"file": file.name, "reader": reader.removeprefix("@")}, "POST")
    click.echo(f"{told['title']} ({told['name']}), as {reader} would see it now:\n")
    for place, one in enumerate(told["posts"], 1):
        click.echo(f"{place:3} {one['uri']}  {one['context']}, {one['likes']} likes, {one['age_s'] / 3600:.1f} h old")
    if not told["posts"]:
        click.echo("  Nothing.")
    for pattern, posts in told["patterns"].items():
        click.echo(f"\n  {posts} posts are known that match {pattern[1:]!r}" if not posts else "", nl=not posts)
    rules: dict[str, int] = {}
    for one in told["dropped"]:
        rules[one["rule"]] = rules.get(one["rule"], 0) + 1
    if rules:
        click.echo("\nLeft out by its rules: " + ", ".join(f"{n} ({rule})" for rule, n in sorted(rules.items())))


def _asked(settings: Settings, path: str, query: dict[str, str], method: str) -> Any:
    asked = imported("feedgen.cli.private_api:ask_private")
    return json.loads(asked(settings.service.private_bind, path, query, method=method))


def _show(told: Any) -> None:
    for one in told["feeds"]:
        where = f"{one['file']}:{one['line']}" if one["file"] else "comes with feedgen"
        posts = f", {one['posts']} posts match" if one["posts"] is not None else ""
        click.echo(f"{one['name']:20} {one['title']} ({where}{posts})")
        if one["trouble"]:
            click.echo(f"{'':20} falls back: {one['trouble']}")
    for one in told["broken"]:
        click.echo(f"left out: {one}", err=True)
