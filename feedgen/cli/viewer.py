"""`feedgen viewer`: prints or erases all that is kept of one reader. Works beside a running process, too."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from feedgen.cli import names
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.serve.readers.viewer import WAIT_S, erase, told_of
from feedgen.store.viewers import FILE_NAME


def export(settings: Settings, reader: str) -> int:
    did, folder = names.account(settings, reader), _folder(settings)
    told = asyncio.run(told_of(folder, did))
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    return 0


def forget(settings: Settings, reader: str, wait_s: float = WAIT_S) -> int:
    did, folder = names.account(settings, reader), _folder(settings)
    done = asyncio.run(erase(folder, did, wait_s))
    click.echo(f"Nothing is kept of {did} any more.")
    if not done:
        click.echo("No running feedgen said that it forgot them too; one that starts now will do so first.")
    return 0


def _folder(settings: Settings) -> Path:
    folder = Path(settings.store.dir)
    if not (folder / FILE_NAME).exists():
        raise FeedgenError(f"{folder} has no {FILE_NAME}.", "Is `store.dir` the data folder of your service?")
    return folder
