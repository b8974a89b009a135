"""Commands about readers and what they are shown."""

from __future__ import annotations

from pathlib import Path

import click

from feedgen.cli.group import cli, imported, read, settings_options


@cli.command()
@settings_options
@click.argument("reader")
@click.argument("post")
@click.option("--feed", default="for-you", show_default=True, help="The feed that the post is in.")
@click.pass_context
def why(ctx: click.Context, config: Path | None, set_: tuple[str, ...], reader: str, post: str, feed: str) -> None:
    """Why a post stands where it does in a reader's list.

    READER is a handle, a DID, or a profile's address; POST an at-uri, or its page's address. Asks the running service
    on its private address ([service] private_bind), and prints every term of the score and the likes that led to the
    post; people are counts, never names.
    """
    ctx.exit(imported("feedgen.cli.why:main")(read(config, set_).get(), reader, post, feed))


@cli.command()
@settings_options
@click.argument("subjects", metavar="[ACCOUNT|POST]...", nargs=-1)
@click.pass_context
def block(ctx: click.Context, config: Path | None, set_: tuple[str, ...], subjects: tuple[str, ...]) -> None:
    """Hide accounts or posts from everyone; without any, print which are hidden.

    An ACCOUNT is a handle, a DID, or a profile's address in the app; a POST is an at-uri, or its page's address.
    Counts on the next page of a running feedgen. Their likes still count for others' feeds.
    """
    ctx.exit(imported("feedgen.cli.blocks:block")(read(config, set_).get(), subjects))


@cli.command()
@settings_options
@click.argument("subjects", metavar="ACCOUNT|POST...", nargs=-1, required=True)
@click.pass_context
def unblock(ctx: click.Context, config: Path | None, set_: tuple[str, ...], subjects: tuple[str, ...]) -> None:
    """Take back `feedgen block`.

    Exit code 1 when one of them was not blocked.
    """
    ctx.exit(imported("feedgen.cli.blocks:unblock")(read(config, set_).get(), subjects))


@cli.group()
def viewer() -> None:
    """What is kept of one reader: show it, erase it."""


@viewer.command("export")
@settings_options
@click.argument("reader")
@click.pass_context
def viewer_export(ctx: click.Context, config: Path | None, set_: tuple[str, ...], reader: str) -> None:
    """Print all that is kept of a reader, as JSON. READER is a handle, a DID, or a profile's address.

    Their account, what they saw and asked for, the pages they got and what came of them. Works while feedgen runs.
    """
    ctx.exit(imported("feedgen.cli.viewer:export")(read(config, set_).get(), reader))


@viewer.command("forget")
@settings_options
@click.argument("reader")
@click.pass_context
def viewer_forget(ctx: click.Context, config: Path | None, set_: tuple[str, ...], reader: str) -> None:
    """Erase all that is kept of a reader. READER is a handle, a DID, or a profile's address.

    A running feedgen forgets them within seconds. What they liked in public stays; that goes when they delete their
    account, as does all of this.
    """
    ctx.exit(imported("feedgen.cli.viewer:forget")(read(config, set_).get(), reader))
