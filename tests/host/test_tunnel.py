"""The tunnel's part in the service: where to listen, what is measured, and what each recorded client leads to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.core.settings_network import Tunnel
from feedgen.host.tailscale import Tailscale, TailscaleError
from feedgen.host.tunnel import KEY_EXPIRY, TAILSCALE, UP, VPS, WARNINGS, TunnelWatch, resolved
from feedgen.host.vps import Ends, find_ends
from tests.host.tailscale import RECORDINGS, put
from tests.process import Feedgen


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def play(name: str) -> Tailscale:
        monkeypatch.setenv("PATH", put(tmp_path, name))
        return Tailscale()

    return play


# Recording: (state, what the trouble says, ping's way or its error, whois or its error, serve's state or its error).
SAYS: dict[str, tuple[str, str, str, str, str]] = {
    "1.56.1-stopped": ("Stopped", "is stopped", "is stopped", "No machine", "{}"),
    "1.76.6-running": ("Running", "", "203.0.113.9:41641", "vps.tail1234.ts.net", "{}"),
    "1.90.9-logged-out": ("NeedsLogin", "is logged out", "is logged out", "No machine", "{}"),
    "1.90.9-no-service": ("", "not running", "failed", "failed", "failed"),
    "1.90.9-relayed": ("Running", "", "DERP(fra)", "vps.tail1234.ts.net", "{}"),
}


def outcome(call: Any) -> str:
    try:
        return str(call())
    except TailscaleError as error:
        return error.message


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_call_on_every_recorded_client(name: str, client: Any) -> None:
    tailscale = client(name)
    state, trouble, ping, whois, serve = SAYS[name]
    assert tailscale.version().startswith(name.partition("-")[0])
    if not state:
        with pytest.raises(TailscaleError, match="not running"):
            tailscale.status()
        # Another way to say the same, which only `ip` has.
        with pytest.raises(TailscaleError, match="not running"):
            tailscale.addresses()
        return
    status = tailscale.status()
    said = status.trouble()
    assert status.state == state and trouble in ("" if said is None else said.message)
    assert status.is_up == (said is None)
    if status.is_up:
        assert tailscale.addresses() == ("100.64.0.7", "fd7a:115c:a1e0::7")
    else:
        assert trouble in outcome(tailscale.addresses)
    assert ping in outcome(lambda: tailscale.ping("vps").way)
    assert whois in outcome(lambda: tailscale.whois("100.64.0.2"))
    assert outcome(tailscale.serve_status) == serve


def ways() -> dict[str, float]:
    return {labels[0]: value for labels, value in VPS.samples()}


def test_what_is_measured(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    TunnelWatch(client("1.76.6-running"), "vps").look()
    assert UP.value(TAILSCALE) == 1 and WARNINGS.value(TAILSCALE) == 0
    assert KEY_EXPIRY.value(TAILSCALE) == 2_119_514_400  # 2037-03-01 10:00
    assert ways() == {"direct": 1, "relayed": 0, "idle": 0, "offline": 0}
    watch = TunnelWatch(client("1.90.9-relayed"), "vps")
    watch.look()
    assert ways()["relayed"] == 1 and WARNINGS.value(TAILSCALE) == 1 and caplog.messages == []
    for name in ("1.90.9-no-service", "1.90.9-no-service", "1.90.9-logged-out", "1.76.6-running"):
        client(name)
        watch.look()
    assert UP.value(TAILSCALE) == 1 and ways()["direct"] == 1
    assert [line.split("\n")[0] for line in caplog.messages] == [
        "the tunnel is down: Tailscale's service is not running.",
        "the tunnel is down: Tailscale is logged out.",
        "the tunnel is up again",
    ]
    TunnelWatch(client("1.76.6-running"), "nobody").look()
    assert ways()["offline"] == 1


def test_a_vps_that_is_not_trusted_is_said_once(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    tailscale = client("1.76.6-running")
    peer = tailscale.status().peer("vps")
    assert peer is not None
    TunnelWatch(tailscale, "vps", peer.addresses).look()
    TunnelWatch(tailscale, "vps", ["100.64.0.0/10", "fd7a:115c:a1e0::/48", "unix"]).look()
    assert caplog.messages == []
    watch = TunnelWatch(tailscale, "vps", ["127.0.0.0/8", "unix"])
    watch.look()
    watch.look()
    [said] = caplog.messages
    assert "100.64.0.2" in said and "trusted_proxies" in said


def test_where_to_listen(client: Any) -> None:
    tailscale = client("1.76.6-running")
    assert resolved("tailscale:8090", tailscale) == "100.64.0.7:8090"
    for bind in ("127.0.0.1:8090", "[::1]:0", "unix:/run/x", "fd://3"):
        assert resolved(bind, tailscale) == bind
    with pytest.raises(TailscaleError, match=r"tailscale:8090 needs the tunnel\. Tailscale is stopped") as caught:
        resolved("tailscale:8090", client("1.56.1-stopped"))
    assert "tailscale up" in caught.value.hint


def test_the_ends_are_found_by_name(client: Any) -> None:
    client("1.76.6-running")
    settings = Settings(tunnel=Tunnel(kind="tailscale", vps="vps"))
    assert find_ends(settings, "", "") == Ends("100.64.0.7", "100.64.0.2")
    assert find_ends(settings, "100.64.0.9", "") == Ends("100.64.0.9", "100.64.0.2")
    with pytest.raises(FeedgenError, match="--vps is missing"):
        find_ends(Settings(tunnel=Tunnel(kind="tailscale", vps="other")), "", "")


def test_a_start_that_needs_the_tunnel_ends_with_words_and_may_be_tried_again(client: Any, tmp_path: Path) -> None:
    """Exit code 1: systemd tries again. 2 would mean settings that can't be used."""
    client("1.90.9-logged-out")
    with Feedgen(tmp_path, service__bind="tailscale:0", jetstream__urls="ws://127.0.0.1:1") as it:
        assert it.process.wait(90) == 1
        it.wait_for(lambda: any("is logged out" in str(line) for line in it.log), "the reason")
        assert not (tmp_path / "data").exists()
