"""`feedgen learn`: a training now, told in words."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from feedgen.core.errors import FeedgenError
from feedgen.learn.files import FOLDER
from feedgen.learn.process import train_apart


def main(data: Path, enabled: bool) -> int:
    folder = data / FOLDER
    if not folder.is_dir():
        raise FeedgenError(
            f"there are no examples in {folder} yet",
            "let the service run for a day" if enabled else "set [learn] enabled = true and let the service run",
        )
    report = asyncio.run(train_apart(folder))
    click.echo(f"{report.rows:,} rows of {report.requests:,} lists; tested on the newest {report.tested:,} lists")
    click.echo(f"Serving: {report.serving}. {report.words[:1].upper()}{report.words[1:]}.")
    click.echo(f"{report.cpu_s:.1f} s of CPU, {report.peak_mb:.0f} MB")
    return 0
