"""Commands that start the service, or show it and its settings."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import click

from feedgen import __version__
from feedgen.cli.group import EXIT_SETTINGS, beside, cli, imported, read, settings_options, start


@cli.command()
@settings_options
@click.pass_context
def run(ctx: click.Context, config: Path | None, set_: tuple[str, ...]) -> None:
    """Run the service: listen to the network, answer with feeds.

    The first start begins with the oldest events that the network's hosts still have (about a day and a half) and shows
    how far it is; later starts go on where the last one stopped. SIGTERM or Ctrl-C ends it cleanly within 10 seconds,
    a second Ctrl-C at once. SIGHUP reads the settings again. Without a network it says so, goes on trying, and serves
    what it knows.

    \b
    Exit codes: 0 stopped on demand, 1 a part failed (the reason is the last line of the log), 2 bad settings.
    """
    settings = start(config, set_)
    if not imported("feedgen.starting:compile_first")(settings):
        ctx.exit()  # a signal
    app = imported("feedgen.app:build")(settings)
    app.reread = lambda: beside(read(config, set_, elsewhere=()))
    ctx.exit(app.run())


@cli.command()
@settings_options
@click.option(
    "--people", type=click.IntRange(10, 1_000_000), default=2000, show_default=True, help="How many made-up people."
)
@click.option(
    "--days",
    type=click.FloatRange(0.01, 90),
    default=7,
    show_default=True,
    help="How much made-up history comes first.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, other people.")
@click.pass_context
def demo(ctx: click.Context, config: Path | None, set_: tuple[str, ...], people: int, days: float, seed: int) -> None:
    """Show the service on a made-up network: no account, no internet.

    The same process as `feedgen run`, with a simulated Bluesky as its source: first some days of history at full speed,
    then live events. It prints a page to open and a curl line with a signed token for one of the made-up readers.
    """
    settings = start(config, set_)
    if not imported("feedgen.starting:compile_first")(settings, demo=True):
        ctx.exit()  # a signal
    ctx.exit(imported("feedgen.demo:run")(settings, people=people, days=days, seed=seed))


@cli.group()
def config() -> None:
    """Show, check and list the settings."""


@config.command("show")
@settings_options
def config_show(config: Path | None, set_: tuple[str, ...]) -> None:
    """Print every value and where it came from.

    The output is a complete feedgen.toml (secrets are hidden, so fill those in).
    """
    from feedgen.core.config_text import show

    loaded = read(config, set_)
    loaded.get()
    click.echo(show(loaded), nl=False)


@config.command("check")
@settings_options
@click.pass_context
def config_check(ctx: click.Context, config: Path | None, set_: tuple[str, ...]) -> None:
    """Say everything that is wrong with the settings, and start nothing.

    Exit code 0 when they can be used, else 2.
    """
    loaded = read(config, set_)
    for problem in loaded.problems:
        click.echo(f"{problem.error()}", err=True)
    if loaded.problems or loaded.settings is None:
        ctx.exit(EXIT_SETTINGS)
    for warning in loaded.settings.warnings():
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{loaded.path or 'No settings file: defaults'} and environment: all is well.")


@config.command("docs")
def config_docs() -> None:
    """Print the tables of all settings, in Markdown.

    Every key with its default, what it may be, its unit and its meaning. docs/settings.md is this output; a test fails
    when it is not current.
    """
    from feedgen.core.config_text import document
    from feedgen.core.settings import Settings

    click.echo(document(Settings), nl=False)


@cli.command()
def metrics() -> None:
    """Print the table of all metrics, in Markdown.

    Every name with its kind, its labels and its meaning. docs/metrics.md is this output; a test fails when it is not
    current. The running service gives the values at /metrics on its private address.
    """
    click.echo(imported("feedgen.app:document_metrics")(), nl=False)


@cli.command()
def version() -> None:
    """Print the versions of feedgen and of its dependencies.

    Worth adding to every report of a bug: the versions of Python, of the system and of the packages that matter most.
    """
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    click.echo(f"feedgen {__version__}")
    click.echo(f"Python {platform.python_version()} on {platform.platform()}")
    for package in (
        "numpy",
        "numba",
        "apsw",
        "msgspec",
        "hypercorn",
        "starlette",
        "picows",
        "websockets",
        "cryptography",
    ):
        try:
            click.echo(f"{package} {version_of(package)}")
        except PackageNotFoundError:
            click.echo(f"{package} is missing")


@cli.command()
@click.option("--demo", is_flag=True, help="Also those of the made-up network.")
def warm(demo: bool) -> None:
    """Compile the ranking kernels now, instead of at the first start.

    `feedgen run` does this by itself before its first start; do it after an update to keep the restart short. The
    machine code is kept in NUMBA_CACHE_DIR, or in the user's cache.
    """
    from feedgen.core.bar import CLEAR, bar
    from feedgen.core.jit import tidy
    from feedgen.core.warm import LINE_EVERY_S, LOOK_S, Progress, files, is_warm
    from feedgen.core.warm import warm as warm_all

    if is_warm(demo):
        return
    processes = len(os.sched_getaffinity(0))
    click.echo(f"compiling in {processes} processes, once per version", err=True)
    progress, done, on_terminal = Progress(files(demo), time.monotonic()), threading.Event(), sys.stderr.isatty()

    def tell() -> None:
        while not done.wait(LOOK_S if on_terminal else LINE_EVERY_S):
            progress.look(time.monotonic())
            line = bar("compiling", progress.share, progress.words())
            click.echo(CLEAR + line if on_terminal else line, nl=not on_terminal, err=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    warm_all(demo, processes)
    done.set()
    thread.join()
    tidy()
    click.echo(f"{CLEAR if on_terminal else ''}compiled", err=True)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the shell's completion script.

    \b
    bash:  feedgen completion bash > ~/.local/share/bash-completion/completions/feedgen
    zsh:   feedgen completion zsh > "${fpath[1]}/_feedgen"
    fish:  feedgen completion fish > ~/.config/fish/completions/feedgen.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "feedgen", "_FEEDGEN_COMPLETE").source())


@cli.command()
@settings_options
@click.argument("duration", default="30s")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("feedgen-profile.svg"),
    show_default=True,
    help="Where to; a name that does not end in .svg gets plain stacks, for other programs.",
)
@click.pass_context
def profile(ctx: click.Context, config: Path | None, set_: tuple[str, ...], duration: str, out: Path) -> None:
    """Show where the running service spends its processor time.

    Asks it on its private address ([service] private_bind) to look at itself for DURATION (30s, 2m) and draws a flame
    graph, to be opened in a browser. Costs the service about two hundredths of a core meanwhile.
    """
    ctx.exit(imported("feedgen.cli.profile:main")(read(config, set_).get(), duration, out, click.echo))
