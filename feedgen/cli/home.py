"""Commands for running at home: set up, install, check, publish, and what the VPS needs."""

from __future__ import annotations

from pathlib import Path

import click

from feedgen.cli.group import cli, debug_option, imported, read, settings_options


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
@click.option("--log", "caddy_log", default="", metavar="ADDRESS:PORT", help="Where Caddy's log comes to.")
@click.pass_context
def egress(ctx: click.Context, bind: str, allow: tuple[str, ...], folder: Path | None, caddy_log: str) -> None:
    """On the VPS: connect to strangers' hosts in the PC's place.

    A forward proxy for HTTPS to public addresses, for [identity] proxy_url, so that hosts which readers choose see the
    VPS and never the home. It listens on an address of the tunnel alone and answers nobody but --allow. `feedgen vps`
    packs the same into one file that needs nothing but Python.
    """
    from feedgen.core import logs

    logs.setup("info", "auto")
    resolved, tailscale = imported("feedgen.host.tunnel:resolved"), imported("feedgen.host.tailscale:Tailscale")
    ctx.exit(imported("feedgen.serve.out.egress:run")(resolved(bind, tailscale()), allow, folder, caddy_log))


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
    loaded = read(config, set_)
    settings = loaded.get()
    ends = imported("feedgen.host.vps:find_ends")(settings, home, there)
    write = imported("feedgen.host.vps:write_folder")
    click.echo(write(settings, folder, ends, url or f"http://{settings.service.bind}", loaded.path), nl=False)


password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the app password stands, readable by you only.  [default: FEEDGEN_APP_PASSWORD, or you are asked]",
)


dry_run_option = click.option("--dry-run", is_flag=True, help="Look, but write nothing. Needs no password.")


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

    People who pinned a feed see that it is gone; its likes are lost. Records of other services are not touched.
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
