"""Commands for the data folder: check, measure, export, back up."""

from __future__ import annotations

from pathlib import Path

import click

from feedgen.cli.group import cli, imported, read, settings_options


@cli.command()
@settings_options
@click.pass_context
def stats(ctx: click.Context, config: Path | None, set_: tuple[str, ...]) -> None:
    """Print the days in the data folder: rows, bytes, bytes a rating."""
    settings = read(config, set_).get()
    ctx.exit(imported("feedgen.store.stats:main")(Path(settings.store.dir)))


@cli.command()
@settings_options
@click.option("--beside", is_flag=True, help="While feedgen runs: only the days that are over, and the names.")
@click.pass_context
def verify(ctx: click.Context, config: Path | None, set_: tuple[str, ...], beside: bool) -> None:
    """Check the data folder: files, rows against names, arrays against rows.

    Says what it found and what to do about it. Exit code 0 when all is well.
    """
    settings = read(config, set_).get()
    checks = (imported("feedgen.graph.check:check_sidecars"),)
    ctx.exit(imported("feedgen.store.verify:main")(Path(settings.store.dir), checks, beside))


@cli.command()
@settings_options
@click.option(
    "--readers", type=click.IntRange(1, 100_000), default=200, show_default=True, help="How many at each of 4 moments."
)
@click.pass_context
def evaluate(ctx: click.Context, config: Path | None, set_: tuple[str, ...], readers: int) -> None:
    """Measure how good the lists are, per preset, on your own data.

    Holds out the last day of the data folder and asks, at four moments of it, for the lists of people who then liked
    something: did it stand there? Shows hits, NDCG, coverage, how many authors, how old the posts are. With other
    [rank] settings (--set rank.seeds=200) there is a line for yours. A line with "+ scorer" is the same with a scorer
    trained on examples from before the held-out day. Reads only, and may run beside the service.
    """
    settings = read(config, set_).get()
    mine, rules = (
        imported("feedgen.feeds.from_settings:rank_params")(settings),
        imported("feedgen.feeds.from_settings:list_rules")(settings),
    )
    presets = dict(imported("feedgen.rank.params:PRESETS"))
    if mine not in presets.values():
        presets = {"yours": mine, **presets}
    folder = Path(settings.store.dir)
    said = imported("feedgen.feeds.moderated:said_of")(folder, settings)
    ctx.exit(imported("feedgen.feeds.evaluation:main")(folder, presets, rules, readers, said))


@cli.command()
@settings_options
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 90), help="How far back.")
@click.pass_context
def export(ctx: click.Context, config: Path | None, set_: tuple[str, ...], folder: Path, days: int) -> None:
    """Write served pages and what came of them to FOLDER, as Parquet (docs/analysis.md). Needs feedgen[export]."""
    settings = read(config, set_).get()
    ctx.exit(imported("feedgen.feeds.export:main")(Path(settings.store.dir), folder, days))


@cli.command()
@settings_options
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_context
def backup(ctx: click.Context, config: Path | None, set_: tuple[str, ...], folder: Path) -> None:
    """Copy the data folder into FOLDER, while the service runs or not.

    Settings and readers come first. Today is copied each time, a past day once; every copy is verified before it takes
    the place of an older one. Files that can be rebuilt are left out.
    """
    loaded = read(config, set_)
    copy = imported("feedgen.store.backup:main_backup")
    ctx.exit(copy(Path(loaded.get().store.dir), folder, loaded.path))


@cli.command()
@settings_options
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_context
def restore(ctx: click.Context, config: Path | None, set_: tuple[str, ...], folder: Path) -> None:
    """Restore the data folder from the backup in FOLDER.

    The data folder must be missing or empty: nothing is overwritten. Accounts that were deleted after their days were
    copied are erased again at the next start; the service then goes on where the backup ended.
    """
    settings = read(config, set_).get()
    ctx.exit(imported("feedgen.store.backup:main_restore")(folder, Path(settings.store.dir)))


@cli.command()
@settings_options
@click.pass_context
def learn(ctx: click.Context, config: Path | None, set_: tuple[str, ...]) -> None:
    """Train the scorer now, on the examples that the service has collected.

    The service does so once a day. A model serves only if it beats the formula by two standard errors; a running
    service takes it up within a minute. Exit code 0 when the training went through, whichever serves now.
    """
    settings = read(config, set_).get()
    ctx.exit(imported("feedgen.learn.by_hand:main")(Path(settings.store.dir), settings.learn.enabled))


@cli.group()
def archive() -> None:
    """Fetch the past from Jetstream's archive: what would it cost?

    The service does the fetching: set [jetstream] archive_days before its first start. After a stop of more than a day
    it fetches by itself what it missed ([jetstream] archive_heal). docs/archive.md says more.
    """


@archive.command()
@settings_options
@click.option("--days", default=90.0, show_default=True, type=click.FloatRange(0.1, 90), help="How far back.")
@click.pass_context
def plan(ctx: click.Context, config: Path | None, set_: tuple[str, ...], days: float) -> None:
    """Say what so many days would cost, and fetch nothing.

    Shows segments, events, bytes to download, bytes on disk after it, and how long it takes. Asks the first host of
    [jetstream] urls for a plan and a few blocks; a host may count those against the key's allowance.
    """
    settings = read(config, set_).get()
    ctx.exit(imported("feedgen.archive.command:plan")(settings.jetstream, days))
