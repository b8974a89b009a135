"""`feedgen block` and `unblock`: whom the operator shows to nobody. A running process sees it within seconds."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click

from feedgen.core.checks import check_subject
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.store.moderation import Moderation


def block(settings: Settings, subjects: tuple[str, ...]) -> int:
    """Without subjects: the list."""
    for subject in subjects:
        if allowed := check_subject(subject):
            raise FeedgenError(f"{subject!r} can't be blocked.", f"Give {allowed}.")
    return asyncio.run(_block(settings, subjects))


async def _block(settings: Settings, subjects: tuple[str, ...]) -> int:
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
    return asyncio.run(_unblock(settings, subjects))


async def _unblock(settings: Settings, subjects: tuple[str, ...]) -> int:
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
