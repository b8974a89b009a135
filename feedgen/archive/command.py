"""`feedgen archive plan`: what so many days of the archive would cost, without fetching them."""

from __future__ import annotations

import os

import click

from feedgen.archive.api import Api
from feedgen.archive.key import find_key
from feedgen.archive.plan import plan_since, since_days, words
from feedgen.core.clock import Clock, SystemClock
from feedgen.core.settings_network import Jetstream


def plan(settings: Jetstream, days: float, clock: Clock | None = None) -> int:
    now_us = (clock or SystemClock()).now_us()
    api = Api(settings.urls[0], find_key(settings.archive_key, settings.archive_key_file))
    try:
        found = plan_since(api, since_days(now_us, days))
    finally:
        api.close()
    click.echo(words(found, days, os.cpu_count() or 1))
    if found.segments:
        click.echo(f"from {found.segments[0].name} to {found.segments[-1].name}, at {api.host}")
    else:
        click.echo(f"{api.host} has sealed nothing of that time yet: the live stream has it")
    return 0
