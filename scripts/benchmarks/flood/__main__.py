"""`python -m scripts.benchmarks.flood`: the whole network's volume, on the wires of `feedgen simnet`."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import click

from feedgen.simnet import cli
from feedgen.simnet.server import SimnetOptions
from scripts.benchmarks.flood.plan import FloodPlan
from scripts.benchmarks.flood.source import Torrent

SHARED = {
    "seed",
    "hosts",
    "lookback_h",
    "ping_s",
    "outbox",
    "max_rate",
    "batched",
    "segment_s",
    "listen",
    "port",
    "now_us",
}


@click.command(
    params=[option for option in cli.main.params if option.name in SHARED],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.option("--ratings", default=26_000_000, help="Likes and reposts.")
@click.option("--people", default=1_000_000, help="How many people there are.")
@click.option("--ready", default=0, help="Events made before a subscriber gets the first one.")
@click.option("--span-h", default=24.0, help="Hours that it stands for; it ends now.")
@click.option("--plan", default="", help="All of it as JSON instead: every field of FloodPlan.")
def main(**given: Any) -> None:
    """The whole network's volume, made as it is sent and kept nowhere.

    Every reader gets all of it from its cursor (else from the beginning), and filters do not apply. Of the made-up
    network's other services only the directory and tokens are there.
    """
    hosts = cli.hosts_of(given, seq_step=0)
    paced = any(host.max_rate for host in hosts)
    source = Torrent(_plan(given), paced=paced, ready=given["ready"])
    options = {name: given[name] for name in ("seed", "now_us", "listen", "port")}
    with contextlib.suppress(KeyboardInterrupt):
        cli.runner()(cli.serve(SimnetOptions(hosts=hosts, flood=source, **options)))


def _plan(given: dict[str, Any]) -> FloodPlan:
    if given["plan"]:
        return FloodPlan(**json.loads(given["plan"]))
    span_us = round(given["span_h"] * 3.6e9)
    factor = given["ratings"] / FloodPlan.ratings
    return FloodPlan(
        seed=given["seed"],
        people=given["people"],
        ratings=given["ratings"],
        posts=max(1, round(FloodPlan.posts * factor)),
        follows=round(FloodPlan.follows * factor),
        deletes=round(FloodPlan.deletes * factor),
        others=round(FloodPlan.others * factor),
        start_us=(given["now_us"] or time.time_ns() // 1000) - span_us,
        span_us=span_us,
    )


if __name__ == "__main__":
    main()
