"""The commands. Everything heavy is imported inside the command that needs it, so that `feedgen --help` is quick."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from feedgen import __version__
from feedgen.core.errors import FeedgenError, SettingsError

if TYPE_CHECKING:
    from feedgen.core.config import Loaded
    from feedgen.core.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2

# Commands that live beside what they work on: where, and the line that `feedgen --help` shows without importing them.
ELSEWHERE: Final[dict[str, tuple[str, str]]] = {
    "simnet": ("feedgen.simnet.cli:main", "A made-up Bluesky that speaks the real wires."),
}


class Commands(click.Group):
    """A group whose `ELSEWHERE` commands are imported when they are called, and that speaks plainly about errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *ELSEWHERE])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in ELSEWHERE:
            return super().get_command(ctx, name)
        found = imported(ELSEWHERE[name][0])
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {name: command.get_short_help_str(100) for name, command in self.commands.items()}
        rows |= {name: line for name, (_, line) in ELSEWHERE.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeedgenError as error:
            if ctx.meta.get("debug"):
                raise
            click.echo(f"feedgen: {error}", err=True)
            ctx.exit(EXIT_SETTINGS if isinstance(error, SettingsError) else EXIT_FAILED)


def imported(name: str) -> Any:
    """What "package.module:name" names; a plain error when this installation lacks it."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise FeedgenError(
            f"This installation has no {module}.", "Install feedgen again, or use a newer one."
        ) from error


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["debug"] = True


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember_debug, help="On an error, show the traceback."
)


def settings_options(command: F) -> F:
    """--config, --set and --debug; the command is given `config` and `set_`."""
    command = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The settings file.  [default: ./feedgen.toml if there is one]",
    )(command)
    command = click.option(
        "--set",
        "set_",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="A setting for this start only, like store.dir=/tmp/x. Lists are comma-separated. May be repeated.",
    )(command)
    return debug_option(command)


def read(config: Path | None, set_: tuple[str, ...]) -> Loaded[Settings]:
    """The settings and what is wrong with them."""
    from feedgen.core.config import read_settings
    from feedgen.core.settings import Settings

    return read_settings(Settings, config, given=set_)


def start(config: Path | None, set_: tuple[str, ...]) -> Settings:
    """The settings of a process that starts now: judged, with logging on and the warnings said."""
    import logging

    from feedgen.core import logs

    settings = read(config, set_).get()
    logs.setup(settings.log.level, settings.log.format)
    for warning in settings.warnings():
        logging.getLogger(__name__).warning(warning)
    return settings


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="feedgen")
@debug_option
def cli() -> None:
    """A personal feed generator for Bluesky that fits on a home PC.

    It hears all of the network, remembers 90 days of it, and answers "what would this person like now?" in a few
    milliseconds. `feedgen demo` shows it on a made-up network; `feedgen run` is the real thing. Settings come from
    ./feedgen.toml and FEEDGEN_<SECTION>_<KEY>; `feedgen config show` lists them all.
    """


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
    app = imported("feedgen.app:build")(settings)
    app.reread = lambda: read(config, set_).get()
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
    ctx.exit(imported("feedgen.demo:run")(settings, people=people, days=days, seed=seed))


@cli.group()
def config() -> None:
    """Show, check and explain the settings."""


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
@settings_options
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--url", default="", metavar="URL", help="Where the service answers.  [default: [service] bind]")
def fallback(config: Path | None, set_: tuple[str, ...], folder: Path, url: str) -> None:
    """Write into FOLDER what the VPS answers while the PC is off.

    Asks the running service for its popular page, its description and its did.json. Meant for a timer, every few
    minutes, followed by a copy to the VPS (docs/caddy.md). Nothing good is replaced by something empty.
    """
    settings = read(config, set_).get()
    write = imported("feedgen.host.fallback:write_fallback")
    click.echo(f"{folder}: {write(settings, folder, url or f'http://{settings.service.bind}')} posts")


@cli.command()
@debug_option
@click.option(
    "--bind", required=True, metavar="ADDRESS:PORT", help="The VPS's address in the tunnel, or tailscale:PORT."
)
@click.option("--allow", required=True, multiple=True, metavar="ADDRESS", help="The PC's address in the tunnel.")
@click.option(
    "--fallback",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also keep there what the PC sends for the time when it is off.",
)
@click.pass_context
def egress(ctx: click.Context, bind: str, allow: tuple[str, ...], folder: Path | None) -> None:
    """On the VPS: connect to strangers' hosts in the PC's place.

    A forward proxy for HTTPS to public addresses, for [identity] proxy_url, so that hosts which readers choose see the
    VPS and never the home. It listens on an address of the tunnel alone and answers nobody but --allow. `feedgen vps`
    packs the same into one file that needs nothing but Python.
    """
    from feedgen.core import logs

    logs.setup("info", "auto")
    resolved, tailscale = imported("feedgen.host.tunnel:resolved"), imported("feedgen.host.tailscale:Tailscale")
    ctx.exit(imported("feedgen.serve.out.egress:run")(resolved(bind, tailscale()), allow, folder))


@cli.command()
@settings_options
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--home", default="", metavar="ADDRESS", help="This machine in the tunnel.  [default: asks Tailscale]")
@click.option("--vps", "there", default="", metavar="ADDRESS", help="The VPS in the tunnel.  [default: [tunnel] vps]")
@click.option("--url", default="", metavar="URL", help="Where the service answers.  [default: [service] bind]")
def vps(config: Path | None, set_: tuple[str, ...], folder: Path, home: str, there: str, url: str) -> None:
    """Write into FOLDER all that the VPS needs.

    The Caddyfile with its values, the fallback as it is now, feedgen-egress (one file that needs nothing but Python),
    its unit, and a short script that puts them in place or takes them away again. Prints what to do with them.
    """
    settings = read(config, set_).get()
    ends = imported("feedgen.host.vps:find_ends")(settings, home, there)
    write = imported("feedgen.host.vps:write_folder")
    click.echo(write(settings, folder, ends, url or f"http://{settings.service.bind}"), nl=False)


@cli.command()
def metrics() -> None:
    """Print the table of all metrics, in Markdown.

    Every name with its kind, its labels and its meaning. docs/metrics.md is this output; a test fails when it is not
    current. The running service gives the values at /metrics on its private address.
    """
    click.echo(imported("feedgen.app:document_metrics")(), nl=False)


@cli.command()
def version() -> None:
    """Print the versions of feedgen and of what it stands on.

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
def warm() -> None:
    """Compile the ranking kernels now, instead of at the first start.

    scripts/run does this by itself after an installation or an update; `pip install` users may want to. The machine
    code is kept in NUMBA_CACHE_DIR, or beside the package.
    """
    from feedgen.core.jit import tidy
    from feedgen.core.warm import warm as warm_all

    warm_all(lambda name, seconds: click.echo(f"compiled {name} in {seconds:.1f} s"))
    tidy()


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
@click.argument("reader")
@click.argument("post")
@click.option("--feed", default="for-you", show_default=True, help="The feed that the post is in.")
@click.pass_context
def why(ctx: click.Context, config: Path | None, set_: tuple[str, ...], reader: str, post: str, feed: str) -> None:
    """Why a post stands where it does in a reader's list.

    READER is a DID, POST an at-uri. Asks the running service on its private address ([service] private_bind), and
    prints every term of the score and the likes that led to the post; people are counts, never names.
    """
    ctx.exit(imported("feedgen.serve.why:main")(read(config, set_).get(), reader, post, feed))


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
    ctx.exit(imported("feedgen.serve.http.profile:main")(read(config, set_).get(), duration, out, click.echo))


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
    [rank] settings (--set rank.seeds=200) there is a line for yours. Reads only, and may run beside the service.
    """
    settings = read(config, set_).get()
    mine, rules = imported("feedgen.app:rank_params")(settings), imported("feedgen.app:list_rules")(settings)
    presets = dict(imported("feedgen.rank.params:PRESETS"))
    if mine not in presets.values():
        presets = {"yours": mine, **presets}
    ctx.exit(imported("feedgen.feeds.evaluation:main")(Path(settings.store.dir), presets, rules, readers))


@cli.command()
@settings_options
@click.argument("subjects", metavar="[DID|AT-URI]...", nargs=-1)
@click.pass_context
def block(ctx: click.Context, config: Path | None, set_: tuple[str, ...], subjects: tuple[str, ...]) -> None:
    """Show accounts (DIDs) or posts (at-uris) to nobody; without any, print who is blocked.

    Counts on the next page of a running feedgen. Their likes still count for others' feeds.
    """
    ctx.exit(imported("feedgen.serve.blocks:block")(read(config, set_).get(), subjects))


@cli.command()
@settings_options
@click.argument("subjects", metavar="DID|AT-URI...", nargs=-1, required=True)
@click.pass_context
def unblock(ctx: click.Context, config: Path | None, set_: tuple[str, ...], subjects: tuple[str, ...]) -> None:
    """Take back `feedgen block`.

    Exit code 1 when one of them was not blocked.
    """
    ctx.exit(imported("feedgen.serve.blocks:unblock")(read(config, set_).get(), subjects))


@cli.group()
def viewer() -> None:
    """What is kept of one reader: show it, erase it."""


@viewer.command("export")
@settings_options
@click.argument("did")
@click.pass_context
def viewer_export(ctx: click.Context, config: Path | None, set_: tuple[str, ...], did: str) -> None:
    """Print all that is kept of a reader, as JSON.

    Their account, what they saw and asked for, the pages they got and what came of them. Works while feedgen runs.
    """
    ctx.exit(imported("feedgen.serve.readers.viewer:export")(read(config, set_).get(), did))


@viewer.command("forget")
@settings_options
@click.argument("did")
@click.pass_context
def viewer_forget(ctx: click.Context, config: Path | None, set_: tuple[str, ...], did: str) -> None:
    """Erase all that is kept of a reader.

    A running feedgen forgets them within seconds. What they liked in public stays; that goes when they delete their
    account, as does all of this.
    """
    ctx.exit(imported("feedgen.serve.readers.viewer:forget")(read(config, set_).get(), did))


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
    the place of an older one. What can be made anew from the rest is left out.
    """
    loaded = read(config, set_)
    copy = imported("feedgen.store.backup:main_backup")
    ctx.exit(copy(Path(loaded.get().store.dir), folder, loaded.path))


@cli.command()
@settings_options
@click.argument("folder", type=click.Path(path_type=Path))
@click.pass_context
def restore(ctx: click.Context, config: Path | None, set_: tuple[str, ...], folder: Path) -> None:
    """Make the data folder anew from the backup in FOLDER.

    The data folder must be missing or empty: nothing is overwritten. Accounts that were deleted after their days were
    copied are erased again at the next start; the service then goes on where the backup ended.
    """
    settings = read(config, set_).get()
    ctx.exit(imported("feedgen.store.backup:main_restore")(folder, Path(settings.store.dir)))


password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the app password stands, readable by you only.  [default: FEEDGEN_APP_PASSWORD, or you are asked]",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Log in and look, but write nothing.")


@cli.command()
@settings_options
@password_option
@dry_run_option
@click.option("--replace", is_flag=True, help="Take over a record that another service answers for.")
@click.pass_context
def publish(
    ctx: click.Context,
    config: Path | None,
    set_: tuple[str, ...],
    password_file: Path | None,
    dry_run: bool,
    replace: bool,
) -> None:
    """Tell Bluesky of the feeds: create or update their records.

    [publish] says which feeds, under which names, and whose they are. The password (an app password) is asked for, or
    read from a file or from FEEDGEN_APP_PASSWORD; it is never a setting and never an option. Can be typed again at
    any time; what is as it should be is left alone. Undo: feedgen unpublish.
    """
    ctx.exit(imported("feedgen.host.publish:publish")(read(config, set_).get(), password_file, dry_run, replace))


@cli.command()
@settings_options
@password_option
@dry_run_option
@click.argument("feeds", metavar="[FEED]...", nargs=-1)
@click.pass_context
def unpublish(
    ctx: click.Context,
    config: Path | None,
    set_: tuple[str, ...],
    password_file: Path | None,
    dry_run: bool,
    feeds: tuple[str, ...],
) -> None:
    """Remove the records of FEEDs, or of all that [publish] names.

    Whoever pinned a feed sees that it is gone; its likes are lost. Records of another service are left alone.
    """
    ctx.exit(imported("feedgen.host.publish:unpublish")(read(config, set_).get(), feeds, password_file, dry_run))


@cli.command()
@settings_options
@password_option
@click.pass_context
def whoami(ctx: click.Context, config: Path | None, set_: tuple[str, ...], password_file: Path | None) -> None:
    """Log in as the publisher: the account's DID, and its feeds.

    Exit code 1 when the settings name another account as the publisher.
    """
    ctx.exit(imported("feedgen.host.publish:whoami")(read(config, set_).get(), password_file))


@cli.command()
@settings_options
@password_option
@click.option("--json", "as_json", is_flag=True, help="One object for programs, instead of lines for people.")
@click.option(
    "--connect-to",
    default="",
    metavar="HOST:PORT",
    help="Where the public name is reached, while it leads nowhere yet.  [default: the name's own address, 443]",
)
@click.pass_context
def doctor(
    ctx: click.Context,
    config: Path | None,
    set_: tuple[str, ...],
    password_file: Path | None,
    as_json: bool,
    connect_to: str,
) -> None:
    """Look whether all is well, and say what to do if not.

    From near to far: settings, Python, memory, disk, data, the service, the hosts that it listens to, the tunnel, and
    what the world sees under the public name. With the publisher's app password one request is signed as a reader's.

    \b
    Exit codes: 0 all is well, 1 something to look at, 2 something to do.
    """
    examine = imported("feedgen.host.doctor.command:main")
    ctx.exit(examine(read(config, set_), as_json, connect_to, password_file))


@cli.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path("feedgen.toml"),
    show_default=True,
    help="The settings file that is made or changed.",
)
@debug_option
@click.pass_context
def setup(ctx: click.Context, config: Path) -> None:
    """Ask what must be known, check each answer, and write feedgen.toml.

    Each answer is written at once, so it can be ended at any question and typed again: what was answered is offered
    as the default. Everything else in the file stays as it is. At the end it says what to type next.
    """
    ctx.exit(imported("feedgen.host.setup:main")(config))


@cli.command()
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings to begin with.")
@click.option("--backup", type=click.Path(path_type=Path), metavar="DIR", help="Back up into DIR every night.")
@click.option("--listen", default="", metavar="HOST:PORT", help="Where systemd listens.  [default: [service] bind]")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True, help="Another system's root folder."
)
@debug_option
@click.pass_context
def install(
    ctx: click.Context, config: Path | None, backup: Path | None, listen: str, dry_run: bool, root: Path
) -> None:
    """Make this installation a service that systemd starts with the computer.

    Puts the units in place for the Python environment that this command runs in (a venv, `uv tool`, pipx), makes the
    user `feedgen`, /etc/feedgen/feedgen.toml if it is missing, and starts the service and its timers. Needs root. Can
    be typed again, after an update or with other options. Undo: feedgen uninstall.
    """
    ctx.exit(imported("feedgen.host.install:install")(config, backup, listen, dry_run, root))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True, help="Another system's root folder."
)
@debug_option
@click.pass_context
def uninstall(ctx: click.Context, dry_run: bool, root: Path) -> None:
    """Stop the service and remove its units, never the data.

    /var/lib/feedgen, /etc/feedgen and the backups stay, and it says how to remove them. Needs root.
    """
    ctx.exit(imported("feedgen.host.install:uninstall")(dry_run, root))


def keep_machine_code() -> None:
    """Lets every command of one environment share the kernels that `warm` compiled."""
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(sys.prefix, "numba-cache"))


def main() -> None:
    """The `feedgen` command."""
    keep_machine_code()
    sys.exit(cli.main(prog_name="feedgen"))


if __name__ == "__main__":
    main()
