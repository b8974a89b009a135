"""`feedgen stream`: tokens for listeners, and a look at what passes."""

from __future__ import annotations

from pathlib import Path

import click

from feedgen.cli.group import cli, read, settings_options


@cli.group()
def stream() -> None:
    """Every post with what belongs to it, over one websocket (docs/stream.md)."""


@stream.group()
def token() -> None:
    """Who may listen to the stream: tokens for an address that strangers reach too."""


@token.command("add")
@settings_options
@click.argument("name")
@click.option(
    "--rate", type=click.IntRange(0, 999_999), default=0, show_default=True, help="Messages a second; 0: no limit."
)
def token_add(config: Path | None, set_: tuple[str, ...], name: str, rate: int) -> None:
    """Make a token for NAME. It is shown once; the settings keep its hash.

    With --config (or a feedgen.toml in this folder) it is written into that file; restart feedgen then.
    """
    from feedgen.core.config import FILE_NAME
    from feedgen.core.config_values import toml_value
    from feedgen.core.errors import FeedgenError
    from feedgen.host.settings_file import set_value
    from feedgen.stream import tokens

    settings = read(config, set_).get()
    if any(row.partition(" ")[0] == name for row in settings.stream.tokens):
        raise FeedgenError(f"There is a token for {name} already.", "Choose another name, or take its row out first.")
    made, row = tokens.make(name, rate)
    rows = (*settings.stream.tokens, row)
    path = config or (Path(FILE_NAME) if Path(FILE_NAME).exists() else None)
    if path is not None:
        set_value(path, "stream", "tokens", rows)
        click.echo(
            f"Written into {path}. Restart feedgen, then listen with this token; it is shown only now:", err=True
        )
    else:
        click.echo("Into your feedgen.toml, then restart feedgen:", err=True)
        click.echo(f"  [stream]\n  tokens = {toml_value(rows)}", err=True)
        click.echo("The token, which is shown only now:", err=True)
    click.echo(made)


@stream.command()
@settings_options
@click.option("--url", default="", help="Another address than [stream] bind.", metavar="ws://…")
@click.option("--token", default="", envvar="FEEDGEN_STREAM_TOKEN", help="If the stream wants one.")
@click.option("--filter", "filters", multiple=True, metavar="NAME=VALUE", help="Like langs=de. May be repeated.")
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
def tail(
    config: Path | None, set_: tuple[str, ...], url: str, token: str, filters: tuple[str, ...], count: int | None
) -> None:
    """Print the stream as it passes: author, text, and what was joined."""
    from feedgen.stream.tail import address_of, follow

    address = url or address_of(read(config, set_).get().stream.bind)
    follow(address, token, filters, count, click.echo)
