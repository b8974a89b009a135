"""Tailscale's command line, typed: is the tunnel up, what are our addresses, how do we reach the VPS.

Its output changes between releases, so what is missing or odd in it becomes an empty value; only what we can't do
without is an error, and an error says what to type. `status --json` ends with 0 even when the tunnel is down.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from feedgen.core.errors import FeedgenError

PROGRAM: Final = "tailscale"
TIMEOUT_S: Final = 10.0
PING_TRIES: Final = 5
MAX_OUTPUT_CHARS: Final = 8_000_000  # a status of a large tailnet is about 1 kB a machine
MAX_WORDS_CHARS: Final = 200
WAYS: Final = ("direct", "relayed", "idle", "offline")  # what `Peer.way` may be

_PONG: Final = re.compile(r"^pong from .* via (?P<way>\S+) in (?P<ms>[0-9.]+)(?P<unit>µs|us|ms|s)", re.MULTILINE)
_MS: Final = {"µs": 0.001, "us": 0.001, "ms": 1.0, "s": 1000.0}
_START: Final = "Type: sudo systemctl start tailscaled"
_UP: Final = "Type: sudo tailscale up"


class TailscaleError(FeedgenError):
    """The tunnel can't be used, or can't be asked."""


@dataclass(frozen=True, slots=True)
class Peer:
    """`address` is where packets go when the way is direct, `relay` the region that passes them on otherwise."""

    name: str
    addresses: tuple[str, ...]
    online: bool
    address: str
    relay: str
    active: bool  # something was sent or received lately

    @property
    def way(self) -> str:
        """How packets get there just now, one of WAYS."""
        if not self.online:
            return "offline"
        if self.address:
            return "direct"
        return "relayed" if self.active else "idle"


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is tailscaled's word: Running, Stopped, NeedsLogin, NeedsMachineAuth, Starting, NoState."""

    state: str
    name: str
    addresses: tuple[str, ...]
    version: str
    key_expires: datetime.datetime | None  # None: never, or not told
    expired: bool
    health: tuple[str, ...]
    peers: tuple[Peer, ...]

    @property
    def is_up(self) -> bool:
        return self.state == "Running" and not self.expired and bool(self.addresses)

    def trouble(self) -> FeedgenError | None:
        """Why the tunnel is down, and what to type; None when it is up."""
        if self.expired:
            return TailscaleError("This machine's key has expired.", f"{_UP} --force-reauth, or disable key expiry.")
        if self.is_up:
            return None
        says = {
            "Stopped": ("Tailscale is stopped.", _UP),
            "NeedsLogin": ("Tailscale is logged out.", f"{_UP}, and open the address that it shows."),
            "NeedsMachineAuth": (
                "This machine waits for approval.",
                "Approve it in your tailnet's admin console.",
            ),
            "Starting": ("Tailscale is starting.", "Try again in a few seconds."),
            "Running": ("Tailscale has no address yet.", "Try again in a few seconds."),
        }
        words, hint = says.get(self.state, (f"Tailscale says {self.state or 'nothing'}.", _UP))
        return TailscaleError(words, hint)

    def peer(self, name: str) -> Peer | None:
        """By its name, short or whole, or by one of its addresses."""
        name = name.rstrip(".").lower()
        for peer in self.peers:
            if name in (peer.name, peer.name.partition(".")[0]) or name in peer.addresses:
                return peer
        return None


@dataclass(frozen=True, slots=True)
class Ping:
    """`way` is an address when the way is direct, else like `DERP(fra)`."""

    way: str
    ms: float

    @property
    def direct(self) -> bool:
        return not self.way.startswith(("DERP", "peer-relay"))


class Tailscale:
    """Each call starts the program once, and waits `timeout_s` at most."""

    def __init__(self, program: str = PROGRAM, timeout_s: float = TIMEOUT_S) -> None:
        self._program, self._timeout_s = program, timeout_s

    def status(self) -> Status:
        """Also when the tunnel is down: see `trouble`."""
        return decode_status(self._run("status", "--json"))

    def addresses(self) -> tuple[str, ...]:
        """Ours, IPv4 first. An error when the tunnel is down."""
        return _addresses(self._run("ip").split())

    def version(self) -> str:
        """Like 1.76.6: the first line, whatever follows in this release."""
        lines = self._run("version").split("\n", 1)
        return lines[0].strip()[:40]

    def ping(self, host: str) -> Ping:
        """Tries until the way is direct, or a few times. The last answer counts."""
        _check_host(host)
        done = self._start("ping", f"--c={PING_TRIES}", "--until-direct=true", "--timeout=1s", host)
        pongs = list(_PONG.finditer(done.stdout))
        if not pongs:
            raise _error(
                done, f"{host} does not answer through the tunnel.", "Is it on, and logged in to the same tailnet?"
            )
        last = pongs[-1]
        return Ping(last["way"], float(last["ms"]) * _MS[last["unit"]])

    def whois(self, address: str) -> str:
        """The machine's name behind an address of the tailnet; empty when it has none."""
        _check_host(address)
        node = _object(_json(self._run("whois", "--json", address)).get("Node"))
        return _text(node.get("Name")).rstrip(".").lower()

    def serve_status(self) -> Mapping[str, Any]:
        """What `tailscale serve` shows to the tailnet, as it tells it."""
        text = self._run("serve", "status", "--json")
        return _json(text) if text.strip() else {}

    def _run(self, *arguments: str) -> str:
        done = self._start(*arguments)
        if done.returncode != 0:
            raise _error(done, f"`tailscale {arguments[0]}` failed.", "Look at: tailscale status")
        return done.stdout

    def _start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            raise TailscaleError(
                "Tailscale is not installed.", "See https://tailscale.com/download, or use another tunnel."
            ) from None
        except PermissionError:
            raise TailscaleError(f"{self._program} may not be started.", "Look at its rights.") from None
        except subprocess.TimeoutExpired:
            raise TailscaleError(
                f"`tailscale {arguments[0]}` took longer than {self._timeout_s:g} s.",
                "Look at: systemctl status tailscaled",
            ) from None
        except OSError as error:
            raise TailscaleError(f"tailscale can't be started: {error.strerror}", "Install it again.") from None
        if len(done.stdout) > MAX_OUTPUT_CHARS:
            raise TailscaleError(f"`tailscale {arguments[0]}` said too much.", "Report this, please.")
        return done


def decode_status(text: str) -> Status:
    told = _json(text)
    this = _object(told.get("Self"))
    return Status(
        state=_text(told.get("BackendState")),
        name=_name(this),
        addresses=_addresses(_list(this.get("TailscaleIPs")) or _list(told.get("TailscaleIPs"))),
        version=_text(told.get("Version")).partition("-")[0],
        key_expires=_time(this.get("KeyExpiry")),
        expired=this.get("Expired") is True,
        health=tuple(_text(line) for line in _list(told.get("Health")) if _text(line)),
        peers=tuple(_peer(_object(peer)) for peer in _object(told.get("Peer")).values()),
    )


def _peer(told: Mapping[str, Any]) -> Peer:
    return Peer(
        name=_name(told),
        addresses=_addresses(_list(told.get("TailscaleIPs"))),
        online=told.get("Online") is True,
        address=_text(told.get("CurAddr")),
        # A relay of one's own (1.86 and later) stands beside Tailscale's.
        relay=_text(told.get("PeerRelay")) or _text(told.get("Relay")),
        active=told.get("Active") is True,
    )


def _error(done: subprocess.CompletedProcess[str], words: str, hint: str) -> TailscaleError:
    """What the program said, in words that help."""
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    all_said = " ".join(said).lower()
    if any(words in all_said for words in ("connect to local tailscale", "is tailscaled running")):
        if "permission denied" not in all_said:
            return TailscaleError("Tailscale's service is not running.", _START)
        return TailscaleError("This user may not ask Tailscale.", "Type: sudo tailscale set --operator=$USER")
    if "access denied" in all_said or "permission denied" in all_said:
        return TailscaleError("This user may not ask Tailscale.", "Type: sudo tailscale set --operator=$USER")
    if "logged out" in all_said or "needslogin" in all_said:
        return TailscaleError("Tailscale is logged out.", f"{_UP}, and open the address that it shows.")
    if "tailscale is stopped" in all_said or "no current tailscale ips" in all_said:
        return TailscaleError("Tailscale is stopped.", _UP)
    if any(words in all_said for words in ("no such host", "lookup", "no matching peer", "peer not found")):
        return TailscaleError("No machine of this name is in the tailnet.", "Look at: tailscale status")
    # Only the last line: keys of this machine may stand elsewhere, and never belong in a log.
    last = re.sub(r"\b(tskey|nodekey|mkey)[-:]\S+", "***", said[-1])[:MAX_WORDS_CHARS] if said else ""
    return TailscaleError(f"{words} It said: {last}" if last else words, hint)


def _check_host(host: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:_-]*", host):
        raise TailscaleError(f"{host[:50]!r} is no name or address of a machine.", "Names are like vps or 100.64.0.2.")


def _json(text: str) -> Mapping[str, Any]:
    # Warnings may stand before the object.
    start = text.find("{")
    try:
        told = json.loads(text[max(0, start) :])
    except (ValueError, RecursionError):
        raise TailscaleError("Tailscale's answer can't be read.", "Update it, or report this.") from None
    return _object(told)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(told: Mapping[str, Any]) -> str:
    return (_text(told.get("DNSName")).rstrip(".") or _text(told.get("HostName"))).lower()


def _addresses(values: list[Any]) -> tuple[str, ...]:
    found = []
    for value in values:
        try:
            found.append(ipaddress.ip_address(_text(value)))
        except ValueError:
            continue
    return tuple(str(address) for address in sorted(found, key=lambda address: address.version))


def _time(value: object) -> datetime.datetime | None:
    try:
        time = datetime.datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    # The zero time of Go stands for "never".
    return time if time.tzinfo is not None and time.year > 1 else None
