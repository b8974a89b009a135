"""The dashboard and the alerts: every name is documented, and a real Prometheus makes something of the real process."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedgen.simnet.process import SimnetProcess
from tests.host.test_caddy import free_port
from tests.process import SERVICE, Feedgen, of_network

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "contrib" / "grafana" / "feedgen.json"
RULES = ROOT / "contrib" / "prometheus" / "feedgen.rules.yml"
NAME = re.compile(r"\b(?:feedgen|process)_[a-z0-9_]+\b")
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")
PATIENCE_S = 120.0


def expressions() -> dict[str, str]:
    """Panel: what it asks Prometheus."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found: dict[str, str] = {}
    for panel in panels:
        for target in panel.get("targets", []):
            name = f"{panel['title']} {target['refId']}"
            assert name not in found, f"two panels are called {panel['title']}"
            found[name] = target["expr"].replace("$__rate_interval", "1m")
    return found


def documented() -> dict[str, tuple[str, set[str]]]:
    """Metric: its kind and its labels, as docs/metrics.md has them."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def problem(name: str, known: dict[str, tuple[str, set[str]]]) -> str:
    if name in known:
        return f"{name} is a histogram" if known[name][0] == "histogram" else ""
    base = HISTOGRAM.sub("", name)
    return "" if base != name and known.get(base, ("",))[0] == "histogram" else f"{name} is not in docs/metrics.md"


def test_every_metric_named_in_the_dashboard_and_the_rules_is_documented() -> None:
    known = documented()
    text = RULES.read_text()
    names = set(NAME.findall(" ".join(expressions().values())))
    asked = re.findall(r"^ +expr: (.*?)^ +(?:for|labels):", text, re.MULTILINE | re.DOTALL)
    assert len(asked) == text.count("- alert:")
    names |= {name for expr in asked for name in NAME.findall(expr)}
    assert len(names) > 30
    assert [found for name in sorted(names) if (found := problem(name, known))] == []
    # What alerts and panels pick by label must be a label of that metric.
    for expr in [*asked, *expressions().values()]:
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expr):
            labels = set(re.findall(r"(\w+)\s*[=!]~?\s*\"", matchers)) - {"job", "le"}
            if name != "up":
                assert labels <= known.get(name, known.get(HISTOGRAM.sub("", name), ("", set())))[1], expr


def test_a_name_that_is_not_documented_would_be_found() -> None:
    known = documented()
    assert problem("feedgen_readyness", known) and problem("feedgen_ready_sum", known)
    assert problem("feedgen_http_request_seconds", known) and not problem("feedgen_http_request_seconds_sum", known)


# --- alerts, by Prometheus' own tool

CALM = {
    'up{job="feedgen"}': "1x240",
    "feedgen_ready": "1x240",
    "feedgen_parts_late": "0x240",
    "feedgen_ingest_connected": "1x240",
    "feedgen_ingest_newest_event_timestamp_seconds": "0+60x240",
    "feedgen_ingest_gaps_total": "2x240",
    "feedgen_ingest_store_full_total": "0x240",
    'feedgen_http_requests_total{route="app.bsky.feed.getFeedSkeleton",code="200"}': "0+600x240",
    'feedgen_http_requests_total{route="app.bsky.feed.getFeedSkeleton",code="500"}': "0+1x240",
    'feedgen_http_request_seconds_bucket{route="app.bsky.feed.getFeedSkeleton",le="0.1"}': "0+600x240",
    'feedgen_http_request_seconds_bucket{route="app.bsky.feed.getFeedSkeleton",le="5"}': "0+600x240",
    'feedgen_http_request_seconds_bucket{route="app.bsky.feed.getFeedSkeleton",le="+Inf"}': "0+600x240",
    'feedgen_feeds_fallbacks_total{to="popular",why="late"}': "0+3x240",
    'feedgen_feeds_fallbacks_total{to="popular",why="bug"}': "0x240",
    'feedgen_vps_pages_total{result="in_time"}': "0+600x240",
    'feedgen_vps_pages_total{result="late"}': "0+3x240",
    'feedgen_vps_pages_total{result="failed"}': "0+1x240",
    'feedgen_tunnel_up{kind="tailscale"}': "1x240",
    'feedgen_tunnel_vps{way="relayed"}': "0x240",
    'feedgen_tunnel_key_expiry_timestamp_seconds{kind="tailscale"}': "0x240",
    "feedgen_fallback_handed_timestamp_seconds": "0+60x240",
    'process_start_time_seconds{job="feedgen"}': "5x240",
    'process_open_fds{job="feedgen"}': "50x240",
    'process_max_fds{job="feedgen"}': "1024x240",
}
SKELETON_BUCKET = 'feedgen_http_request_seconds_bucket{{route="app.bsky.feed.getFeedSkeleton",le="{}"}}'
# Alert: what must be otherwise for it to sound.
PLANTED: dict[str, dict[str, str]] = {
    "FeedgenDown": {'up{job="feedgen"}': "0x240"},
    "FeedgenNotReady": {"feedgen_ready": "0x240"},
    "FeedgenHangs": {"feedgen_parts_late": "1x240"},
    "FeedgenErrors": {'feedgen_http_requests_total{route="app.bsky.feed.getFeedSkeleton",code="500"}': "0+20x240"},
    "FeedgenBug": {'feedgen_feeds_fallbacks_total{to="popular",why="bug"}': "0+1x240"},
    "FeedgenSlow": {SKELETON_BUCKET.format("0.1"): "0x240"},
    "FeedgenThrownAway": {'feedgen_vps_pages_total{result="late"}': "0+12x240"},
    "FeedgenLate": {'feedgen_feeds_fallbacks_total{to="popular",why="late"}': "0+60x240"},
    "FeedgenBehind": {"feedgen_ingest_newest_event_timestamp_seconds": "60x240"},
    "FeedgenNotListening": {"feedgen_ingest_connected": "0x240"},
    "FeedgenGap": {"feedgen_ingest_gaps_total": "2x220 3x20"},
    "FeedgenStoreFull": {"feedgen_ingest_store_full_total": "0+1x240"},
    "FeedgenRestarts": {'process_start_time_seconds{job="feedgen"}': "0+600x240"},
    "FeedgenFilesLow": {'process_open_fds{job="feedgen"}': "1000x240"},
    "FeedgenTunnelDown": {'feedgen_tunnel_up{kind="tailscale"}': "0x240"},
    "FeedgenTunnelRelayed": {'feedgen_tunnel_vps{way="relayed"}': "1x240"},
    "FeedgenFallbackOld": {"feedgen_fallback_handed_timestamp_seconds": "60x240"},
    "FeedgenTunnelKeyEnds": {'feedgen_tunnel_key_expiry_timestamp_seconds{kind="tailscale"}': "86400x240"},
}


@pytest.mark.needs("promtool")
def test_each_alert_sounds_for_its_own_trouble_and_no_other(tmp_path: Path) -> None:
    assert set(re.findall(r"- alert: (\w+)", RULES.read_text())) == set(PLANTED)
    groups = []
    for alert, planted in [("", {}), *PLANTED.items()]:
        series = [{"series": name, "values": values} for name, values in (CALM | planted).items()]
        sounding = 'count by (alertname) (ALERTS{alertstate="firing"})'
        samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
        ask = {"expr": sounding, "eval_time": "230m", "exp_samples": samples}
        groups.append({"name": alert or "calm", "interval": "1m", "input_series": series, "promql_expr_test": [ask]})
    file = tmp_path / "alerts.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": groups}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# --- the real Prometheus, before the real process


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    port = free_port()
    config = (ROOT / "contrib" / "prometheus" / "prometheus.yml").read_text()
    for old, new in {"15s": "1s", "30s": "1s", "127.0.0.1:8091": target, "feedgen.rules.yml": str(RULES)}.items():
        assert old in config
        config = config.replace(old, new)
    (folder / "prometheus.yml").write_text(config)
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def until(look: Any, what: str) -> Any:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with suppress(httpx.HTTPError, KeyError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE_S:.0f} s for {what}")


def ask(client: httpx.Client, expr: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": expr}).json()
    assert answer["status"] == "success", (expr, answer)
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


@pytest.mark.needs("prometheus")
def test_a_real_prometheus_reads_the_process_the_rules_and_what_the_dashboard_asks(tmp_path: Path) -> None:
    with (
        SimnetProcess("--people", "80", "--days", "0.5", "--wait", "--rate", "5") as network,
        Feedgen(
            tmp_path,
            **of_network(network),
            service__private_bind="127.0.0.1:0",
        ) as it,
        prometheus(tmp_path, it.said("the private address answers")["bind"]) as client,
    ):
        it.said("answering")
        token = network.token(int(network.control("readers?k=1")[0]["person"]), SERVICE)
        until(lambda: it.page(token).json()["feed"], "a list")
        until(lambda: ask(client, 'up{job="feedgen"} == 1'), "a scrape")
        until(lambda: ask(client, 'rate(feedgen_rank_stage_seconds_count{stage="ranking"}[1m])'), "two scrapes")

        build = ask(client, "feedgen_build_info")[0]["metric"]
        assert build["version"] and build["python"]
        stages = {row["metric"]["stage"] for row in ask(client, "feedgen_rank_stage_seconds_count")}
        presets = {row["metric"]["preset"] for row in ask(client, "feedgen_rank_stage_seconds_count")}
        assert stages == {"seeds", "ranking", "list"} and presets <= {"default", "cheap"}

        answers = {panel: ask(client, expr) for panel, expr in expressions().items()}
        empty = {panel for panel, rows in answers.items() if not rows}
        # Nothing of this kind has happened to this process, or it has no such tunnel.
        may_be_empty = (
            "Turned away",
            "Pages with something else",
            "Lists that came",
            "The way to",
            "Days until",
            "Age of the VPS",
        )
        may_be_empty += ("Gaps and", "Likes and reposts recorded B", "Events B", "Look-ups", "Connections B")
        assert [panel for panel in sorted(empty) if not panel.startswith(may_be_empty)] == []

        rules = until(lambda: client.get("/api/v1/rules").json()["data"]["groups"][0]["rules"], "the rules")
        until(lambda: {rule["health"] for rule in loaded(client)} == {"ok"}, "every rule to be judged")
        assert {rule["name"] for rule in rules} == set(PLANTED)
        assert [rule["name"] for rule in loaded(client) if rule["state"] == "firing"] == []


def loaded(client: httpx.Client) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = client.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    return rules
