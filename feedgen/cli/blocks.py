"""`feedgen block` and `unblock`: accounts and posts hidden from everyone. A running process sees it within seconds."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from feedgen.cli import names
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.store.moderation import Moderation


def block(settings: Settings, subjects: tuple[str, ...]) -> int:
    """Without subjects: the list."""
    return asyncio.run(_block(settings, names.subjects(settings, subjects)))


async def _block(settings: Settings, subjects: list[str]) -> int:
    async with await _open(settings) as store:
        for subject in subjects:
            await store.block(subject, int(time.time()))
        if subjects:
            return 0
        for subject in (*settings.moderation.block, *await store.blocks()):
            click.echo(subject)
    return 0


def unblock(settings: Settings, subjects: tuple[str, ...]) -> int:
    """1 when one of them was not blocked."""
    return asyncio.run(_unblock(settings, names.subjects(settings, subjects)))


async def _unblock(settings: Settings, subjects: list[str]) -> int:
    missing = 0
    async with await _open(settings) as store:
        for subject in subjects:
            if subject in settings.moderation.block:
                click.echo(f"{subject} stands in [moderation] block: take it out of the settings.", err=True)
                missing = 1
            elif not await store.unblock(subject):
                click.echo(f"{subject} was not blocked.", err=True)
                missing = 1
    return missing


async def _open(settings: Settings) -> Moderation:
    folder = Path(settings.store.dir)
    if not folder.is_dir():
        raise FeedgenError(f"There is no data folder {folder}.", "Is `store.dir` the data folder of your service?")
    return await Moderation.open(folder)
