"""What the VPS needs, in one folder to copy there: the Caddyfile with its values, the way out, and a script.

The VPS gets no installation of feedgen: the way out (serve/out/egress.py) stands on the standard library, so it is
packed into one file that Debian's Python runs.
"""

from __future__ import annotations

import ipaddress
import re
import zipapp
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import feedgen
from feedgen.core import budget, fallback
from feedgen.core.config_values import toml_value
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.core.settings_network import LOCAL_PROXIES
from feedgen.host.fallback import gather
from feedgen.host.settings_file import set_value
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import TAILSCALE

EGRESS_PORT: Final = 8118
FALLBACK_FOLDER: Final = "/var/lib/feedgen-fallback"
PACKED: Final = (
    "__init__.py",
    "core/__init__.py",
    "core/errors.py",
    "core/fallback.py",
    "core/page_times.py",
    "serve/__init__.py",
    "serve/out/__init__.py",
    "serve/out/addresses.py",
    "serve/out/hosts.py",
    "serve/out/egress.py",
)


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of the tunnel, as addresses in it."""

    home: str
    vps: str


def find_ends(settings: Settings, home: str, vps: str) -> Ends:
    """As given, or as Tailscale knows them."""
    if (not home or not vps) and settings.tunnel.kind == TAILSCALE:
        tailscale = Tailscale()
        home = home or tailscale.addresses()[0]
        peer = tailscale.status().peer(settings.tunnel.vps) if settings.tunnel.vps else None
        vps = vps or (peer.addresses[0] if peer is not None and peer.addresses else "")
    for name, address in (("--home", home), ("--vps", vps)):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise FeedgenError(
                f"{name}: {address!r} is no address." if address else f"{name} is missing: an address in the tunnel.",
                'Give it, or set [tunnel] kind = "tailscale" and vps = "the VPS\'s name".',
            ) from None
    return Ends(home, vps)


def write_folder(settings: Settings, folder: Path, ends: Ends, url: str, config: Path | None = None) -> str:
    """Everything for the VPS; what was done and what is left to do, as text. `url` is where the service answers,
    `config` the settings file, in which the VPS becomes the proxy that is trusted.
    """
    service = settings.service
    if "." not in service.hostname:
        raise FeedgenError(
            f'[service] hostname is "{service.hostname}".', "Set it to the public name of your feed first."
        )
    folder.mkdir(parents=True, exist_ok=True)
    port = service.bind.rpartition(":")[2]
    if not re.fullmatch(r"[1-9][0-9]*", port):
        raise FeedgenError(f'[service] bind is "{service.bind}": the VPS can\'t know the port.', "Give it a fixed one.")
    upstream, out = _joined(ends.home, int(port)), _joined(ends.vps, EGRESS_PORT)
    values = {
        "FEEDGEN_SITE": service.hostname,
        "FEEDGEN_UPSTREAM": upstream,
        "FEEDGEN_FALLBACK": FALLBACK_FOLDER,
    }
    lines = [
        "# Made by `feedgen vps`.",
        "[Service]",
        *(f"Environment={name}={value}" for name, value in values.items()),
    ]
    unit = _file("feedgen-egress.service").replace("@BIND@", out).replace("@ALLOW@", ends.home)
    for name, text in {
        "Caddyfile": caddyfile(),
        "caddy.conf": "\n".join(lines) + "\n",
        "feedgen-egress.service": unit,
        "install.sh": _file("install-vps.sh"),
    }.items():
        (folder / name).write_text(text)
    pack(folder / "feedgen-egress.pyz")
    return _steps(folder, ends, out, _first_fallback(settings, folder, url), _trust(settings, ends.vps, config))


def _trust(settings: Settings, vps: str, config: Path | None) -> str:
    """What is left to be written into feedgen.toml so that the VPS may say who calls."""
    address, trusted = ipaddress.ip_address(vps), settings.service.trusted_proxies
    if any(address in ipaddress.ip_network(name) for name in trusted if name != "unix"):
        return ""
    kept = () if set(trusted) == set(LOCAL_PROXIES) else trusted
    try:
        if config is not None:
            set_value(config, "service", "trusted_proxies", (*kept, vps))
            return f"   (trusted_proxies in {config} names the VPS already)\n"
    except FeedgenError:
        pass  # not our file: then by hand
    return f"   [service]\n   trusted_proxies = {toml_value((*kept, vps))}\n"


# sendInteractions first, then pages.
CADDY_TIMES: Final = {
    "lb_try_duration": (budget.TOLD_RETRY_S, budget.RETRY_S),
    "dial_timeout": (budget.DIAL_S, budget.DIAL_S),
    "response_header_timeout": (budget.TOLD_WAIT_S, budget.WAIT_S),
    "health_timeout": (budget.WAIT_S,),  # a home that is slow, but answers, is not off
}


def caddyfile() -> str:
    """The Caddyfile, with Caddy's share of the time that an answer may take."""
    text = _file("Caddyfile")
    for name, seconds in CADDY_TIMES.items():  # interactions first, then pages
        parts = re.split(rf"(?m)(?<=\t{name} )\S+$", text)
        between = [f"{round(one * 1000)}ms" for one in seconds]
        text = "".join(part + time for part, time in zip(parts, [*between, ""], strict=True))
    return text


def pack(target: Path) -> None:
    """The way out as one file, for any Python from 3.11 on."""
    source = Path(feedgen.__file__).parent
    with TemporaryDirectory() as made:
        for name in PACKED:
            copy = Path(made) / "feedgen" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((source / name).read_bytes())
        (Path(made) / "__main__.py").write_text(
            "from feedgen.serve.out.egress import main\n\nraise SystemExit(main())\n"
        )
        zipapp.create_archive(made, target, interpreter="/usr/bin/env python3", compressed=True)


def _first_fallback(settings: Settings, folder: Path, url: str) -> str:
    try:
        fallback.write(folder / "fallback", gather(settings, url))
    except FeedgenError as error:
        return f"no fallback yet ({error.message}); the running service will send it"
    return "the fallback as it is now"


def _steps(folder: Path, ends: Ends, out: str, about_fallback: str, trust: str) -> str:
    return f"""\
{folder} holds the Caddyfile, its values, feedgen-egress, a script, and {about_fallback}.

1. Copy it to the VPS:      scp -r {folder} root@{ends.vps}:feedgen-vps
2. Run it there, as root:   ssh root@{ends.vps} sh feedgen-vps/install.sh
   (undo: the same with --undo)
3. Into feedgen.toml here, then restart feedgen:
{trust}   [identity]
   did_web = "proxy"
   pds = "proxy"
   proxy_url = "http://{out}"
   [fallback]
   url = "http://{out}"
4. See that it works:       feedgen doctor
"""


def _file(name: str) -> str:
    return (files("feedgen.host") / "files" / name).read_text()


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
