"""The tunnel between this PC and the VPS while the service runs: where it lets us listen, and how it is.

Pages never wait for it: its state is asked for once a minute, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable
from typing import Final

from feedgen.core.errors import FeedgenError
from feedgen.core.telemetry import Counter, Gauge
from feedgen.host.tailscale import WAYS, Status, Tailscale, TailscaleError

LOOK_S: Final = 60.0
TAILSCALE: Final = "tailscale"

UP = Gauge("feedgen_tunnel_up", "1 while the tunnel can be used.", "kind")
WARNINGS = Gauge("feedgen_tunnel_warnings", "Things that the tunnel's own health check complains of.", "kind")
KEY_EXPIRY = Gauge(
    "feedgen_tunnel_key_expiry_timestamp_seconds", "When this machine's key ends, in Unix time; 0: never.", "kind"
)
VPS = Gauge("feedgen_tunnel_vps", "1 for the way that packets to the VPS take just now, 0 for the others.", "way")
LOOKS = Counter("feedgen_tunnel_looks_total", "Times that the tunnel's state was asked for, by result", "result")

log = logging.getLogger(__name__)


def resolved(bind: str, tailscale: Tailscale) -> str:
    """`tailscale:8090` as the address that this machine has in the tunnel; every other bind as it is."""
    host, _, port = bind.rpartition(":")
    if host != TAILSCALE:
        return bind
    if trouble := tailscale.status().trouble():
        raise TailscaleError(f"{bind} needs the tunnel. {trouble.message}", trouble.hint)
    address = tailscale.addresses()[0]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def untrusted_vps(status: Status, vps: str, trusted: Iterable[str]) -> FeedgenError | None:
    """What is wrong when the VPS is not among the trusted proxies; None when it is, or is not to be seen."""
    peer = status.peer(vps)
    networks = [ipaddress.ip_network(name) for name in trusted if name != "unix"]
    addresses = [] if peer is None else [ipaddress.ip_address(text) for text in peer.addresses]
    missing = [str(address) for address in addresses if not any(address in network for network in networks)]
    if not missing:
        return None
    return FeedgenError(
        f"[service] trusted_proxies lacks {', '.join(missing)}, which is {vps}: all callers look like one.",
        "Add it and restart, or type `feedgen setup` again.",
    )


class TunnelWatch:
    """`vps` is the machine's name in the tunnel; empty: none is looked for. `trusted` are the settings' proxies."""

    def __init__(self, tailscale: Tailscale, vps: str, trusted: Iterable[str] = (), look_s: float = LOOK_S) -> None:
        self._tailscale, self._vps, self._look_s = tailscale, vps, look_s
        self._trusted = tuple(trusted)
        self._said_untrusted = False
        self._said = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self._look_s)

    def look(self) -> None:
        """One look, into the metrics. What changed is said once."""
        try:
            status = self._tailscale.status()
        except TailscaleError as error:
            LOOKS.add(1, "failed")
            UP.set(0, TAILSCALE)
            self._say(str(error))
            return
        LOOKS.add(1, "told")
        self._measure(status)
        if self._trusted and not self._said_untrusted and (missing := untrusted_vps(status, self._vps, self._trusted)):
            self._said_untrusted = True
            log.warning("%s", missing)
        trouble = status.trouble()
        self._say(str(trouble) if trouble else "")

    def _measure(self, status: Status) -> None:
        UP.set(status.is_up, TAILSCALE)
        WARNINGS.set(len(status.health), TAILSCALE)
        KEY_EXPIRY.set(status.key_expires.timestamp() if status.key_expires else 0, TAILSCALE)
        if self._vps:
            peer = status.peer(self._vps)
            now = peer.way if peer is not None else "offline"
            for way in WAYS:
                VPS.set(way == now, way)

    def _say(self, trouble: str) -> None:
        if trouble != self._said:
            if trouble:
                log.warning("the tunnel is down: %s", trouble)
            else:
                log.info("the tunnel is up again")
        self._said = trouble
