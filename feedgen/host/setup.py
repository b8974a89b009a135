"""`feedgen setup`: asks what a first evening needs, checks each answer at once, and writes it at once.

So it can be ended at any question: what was answered is the default when it is typed again.
"""

from __future__ import annotations

import ipaddress
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import httpx

from feedgen.core.checks import check_account, check_bind, check_host, check_host_name
from feedgen.core.config import Loaded, read_settings
from feedgen.core.errors import FeedgenError
from feedgen.core.ids import is_did
from feedgen.core.settings import Settings
from feedgen.host.doctor.machine import DAY_BYTES, GIB, LITTLE_DISK_BYTES, bytes_in, existing
from feedgen.host.settings_file import set_value
from feedgen.host.tailscale import Peer, Tailscale

TIMEOUT_S: Final = 10.0
PORT: Final = 8090
PRIVATE_BIND: Final = "127.0.0.1:8091"
MOST_DAYS: Final = 90
RESOLVE_PATH: Final = "/xrpc/com.atproto.identity.resolveHandle"

Check = Callable[[str], str]


def main(path: Path) -> int:
    """The command."""
    click.echo(f"Each answer is checked and written into {path} at once; Enter takes what stands in brackets.")
    click.echo("Ctrl-C ends it; typed again, it goes on with what you answered.\n")
    made = Guide(path)
    made.ask_name()
    made.ask_account()
    made.ask_room()
    made.ask_tunnel()
    made.set("service", "private_bind", made.settings.service.private_bind or PRIVATE_BIND)
    click.echo(f"\n{path} is complete. `feedgen config show` lists everything that can be set.\n\nNow, one by one:")
    for line, why in next_steps(path):
        click.echo(f"  {line:<58} {why}")
    return 0


def next_steps(path: Path) -> list[tuple[str, str]]:
    ours = sys.argv[0] if Path(sys.argv[0]).name == "feedgen" else "feedgen"
    return [
        (f"sudo {ours} install --config {path}", "a service that starts with the computer"),
        (f"{ours} vps --config {path} feedgen-vps", "what the VPS needs, and what to do with it"),
        (f"{ours} doctor --config {path}", "is all well so far?"),
        (f"{ours} publish --config {path} --dry-run", "what Bluesky would be told"),
        (f"{ours} publish --config {path}", "then open the feed in the app, and pin it"),
    ]


class Guide:
    """Asks, and keeps the file and what was read from it in step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = self._read()

    def _read(self) -> Settings:
        found: Loaded[Settings] = read_settings(Settings, self.path if self.path.exists() else None, env={})
        return found.get()

    def set(self, section: str, key: str, value: object) -> None:
        if getattr(getattr(self.settings, section), key) != value:
            set_value(self.path, section, key, value)
            self.settings = self._read()

    def ask_name(self) -> None:
        known = self.settings.service.hostname
        click.echo("1. The public name. A name below a domain of yours; the VPS answers under it.")
        name = ask("Public DNS name", known if "." in known else "", _real_name).lower()
        self.set("service", "hostname", name)
        click.echo(f"   {where_leads(name)}\n")

    def ask_account(self) -> None:
        click.echo("2. The account on Bluesky whose feeds these are. Its profile will list them.")
        publish = self.settings.publish
        handle = ask("Handle", publish.handle, check_account).removeprefix("@").lower()
        self.set("publish", "handle", handle)
        did = handle if is_did(handle) else did_of(handle, publish.pds)
        if not did:
            click.echo(
                f"   {publish.pds} doesn't know it, or can't be asked now. `feedgen whoami` tells its DID later.\n"
            )
            return
        self.set("service", "publisher_did", did)
        click.echo(f"   It is {did}.\n")

    def ask_room(self) -> None:
        folder = Path(self.settings.store.dir)
        used, free = bytes_in(folder), shutil.disk_usage(existing(folder)).free
        room = max(1, min(MOST_DAYS, (free + used - LITTLE_DISK_BYTES) // DAY_BYTES))
        click.echo(f"3. How long to remember. {free / GIB:.0f} GiB are free; a day of the network takes about one.")
        known = self.settings.store.retention_days
        days = int(ask("Days", str(min(known, room)), _days))
        self.set("store", "retention_days", days)
        if days > room:
            click.echo(f"   There is room for {room} days; `feedgen doctor` will remind you.")
        click.echo()

    def ask_tunnel(self) -> None:
        click.echo("4. The tunnel to the VPS, which is the only way in from the internet.")
        try:
            status = Tailscale().status()
            trouble = status.trouble()
        except FeedgenError as error:
            status, trouble = None, error
        if status is None or trouble is not None:
            assert trouble is not None
            click.echo(f"   {trouble.message} {trouble.hint} Then type `feedgen setup` again.")
            bind = ask("Address to listen at until then", self.settings.service.bind, check_bind)
            self.set("service", "bind", bind)
            return
        ours = status.addresses[0]
        click.echo(f"   Tailscale is up: this computer is {status.name}, {ours}.")
        known = self.settings.service.bind
        usual = known if not known.startswith("127.") else f"{f'[{ours}]' if ':' in ours else ours}:{PORT}"
        self.set("service", "bind", ask("Address to listen at", usual, check_bind))
        self.set("tunnel", "kind", "tailscale")
        online = [peer.name.partition(".")[0] for peer in status.peers if peer.online]
        click.echo(f"   Other machines: {', '.join(online) or 'none; log the VPS in to the same tailnet'}.")
        vps = ask("The VPS's name", self.settings.tunnel.vps or (online[0] if len(online) == 1 else ""), check_host)
        self.set("tunnel", "vps", vps)
        self._trust(status.peer(vps))
        try:
            ping = Tailscale().ping(vps)
            click.echo(f"   It answers in {ping.ms:.0f} ms, {'directly' if ping.direct else f'through {ping.way}'}.")
        except FeedgenError as error:
            click.echo(f"   {error.message} {error.hint}")

    def _trust(self, peer: Peer | None) -> None:
        """Only the VPS may say from where a caller comes."""
        if peer is None or not peer.addresses:
            click.echo("   Its address is not known yet: type `feedgen setup` again when it is up.")
            return
        self.set("service", "trusted_proxies", peer.addresses)
        click.echo(f"   It may say who calls: trusted_proxies = {', '.join(peer.addresses)}.")


def ask(question: str, default: str, check: Check) -> str:
    """Again and again until the answer can be used."""
    while True:
        answer = str(click.prompt(f"   {question}", default=default or None)).strip()
        trouble = check(answer.removeprefix("@") if check is check_account else answer)
        if not trouble:
            return answer
        click.echo(f"   Should be {trouble}.")


def where_leads(name: str) -> str:
    try:
        found = socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return "It leads nowhere yet: make an A record with the VPS's public address at your DNS provider."
    addresses = sorted({str(entry[4][0]) for entry in found})
    if any(not ipaddress.ip_address(text.partition("%")[0]).is_global for text in addresses):
        return f"It leads to {', '.join(addresses)}, which the world can't reach: it must be the VPS's public address."
    return f"It leads to {', '.join(addresses)}. Is that the VPS?"


def did_of(handle: str, pds: str) -> str:
    """Asked of where the account logs in; empty when it doesn't know."""
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            told = client.get(f"{pds.rstrip('/')}{RESOLVE_PATH}", params={"handle": handle}).json()
    except (httpx.HTTPError, ValueError):
        return ""
    did = told.get("did") if isinstance(told, dict) else None
    return did if isinstance(did, str) and is_did(did) else ""


def _real_name(text: str) -> str:
    return check_host_name(text) or ("" if "." in text else "a whole name like feed.example.com")


def _days(text: str) -> str:
    return "" if text.isascii() and text.isdigit() and 1 <= int(text) <= 120 else "a whole number from 1 to 120"
