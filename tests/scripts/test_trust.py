"""The attack of `scripts/bench trust`, small: whom the process connects to while it is attacked."""

from __future__ import annotations

from scripts.benchmarks.trust import connections


def test_under_attack_nobody_but_the_configured_hosts_is_asked() -> None:
    found = {figure.name: figure.value for figure in connections({"watched": 600, "connections": 8, "seed": 3})}
    assert found["trust.connections"] > 5  # the network, the directory, the proxy ...
    assert found["trust.connections_foreign"] == found["trust.proxy_near"] == found["trust.trap_knocks"] == 0
