"""The commands. Everything heavy is imported inside the command that needs it, so that `feedgen --help` is quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
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
SERVICE_SETTINGS: Final = Path("/etc/feedgen/feedgen.toml")  # what `feedgen install` gives the service

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
        help=f"The settings file.  [default: ./feedgen.toml, else {SERVICE_SETTINGS} (not for run)]",
    )(command)
    command = click.option(
        "--set",
        "set_",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="A setting for this start only, like store.dir=/tmp/x. Lists are comma-separated. May be repeated.",
    )(command)
    return debug_option(command)


def read(
    config: Path | None, set_: tuple[str, ...], elsewhere: Sequence[Path] = (SERVICE_SETTINGS,)
) -> Loaded[Settings]:
    """The settings and what is wrong with them. Without --config and ./feedgen.toml, those of the installed service."""
    from feedgen.core.config import read_settings
    from feedgen.core.settings import Settings

    return read_settings(Settings, config, given=set_, elsewhere=elsewhere)


def beside(loaded: Loaded[Settings]) -> Settings:
    """The settings, with the folder of feeds beside their file. Raises SettingsError."""
    import msgspec

    settings, path = loaded.get(), loaded.path
    folder = settings.feeds.folder if path is None else path.absolute().parent / settings.feeds.folder
    return msgspec.structs.replace(settings, feeds=msgspec.structs.replace(settings.feeds, dir=str(folder)))


def start(config: Path | None, set_: tuple[str, ...]) -> Settings:
    """The settings of a process that starts now: judged, with logging on and the warnings said."""
    import logging

    from feedgen.core import logs

    settings = beside(read(config, set_, elsewhere=()))
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
