"""The whole process from outside: started, asked, stopped, killed, started again; on a made-up network or on none."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from feedgen.app import build
from feedgen.core.config import fields_of
from feedgen.core.ids import parse_at_uri
from feedgen.core.parameters import table
from feedgen.core.settings import Settings, Store
from feedgen.core.settings_ranking import Lists, Rank
from feedgen.feeds.from_settings import rank_params
from feedgen.rank.params import DEFAULT, FORYOU, PRESETS
from feedgen.simnet.process import SimnetProcess
from tests.process import SERVICE, Feedgen


@pytest.fixture(scope="module")
def network() -> Iterator[SimnetProcess]:
    with SimnetProcess("--people", "240", "--days", "1.5", "--wait", "--rate", "5") as network:
        yield network


def settings_for(network: SimnetProcess) -> dict[str, object]:
    return {"jetstream__urls": ",".join(network.urls.jetstream), "identity__plc_url": network.urls.plc}


def past_of(network: SimnetProcess) -> int:
    """When the newest event was witnessed that there is now."""
    return int(network.control("")["last_time_us"])


def reader_of(network: SimnetProcess) -> int:
    return int(network.control("readers?k=1")[0]["person"])


def test_build_opens_nothing(tmp_path: Path) -> None:
    app = build(Settings(store=Store(dir=str(tmp_path / "data"))))
    assert app.runtime is None and list(tmp_path.iterdir()) == []


def test_the_ranking_is_as_the_settings_say() -> None:
    rank, lists = Rank(preset="foryou", seeds=50, like_half_life=2), Lists(author_max=1, replies=True)
    app = build(Settings(rank=rank, lists=lists))
    assert app.params == replace(FORYOU, seeds=50, like_half_life=2.0)
    assert (app.rules.author_max, app.rules.replies, app.rules.adult) == (1, True, False)
    assert rank_params(Settings()) == DEFAULT


def test_settings_and_parameters_agree() -> None:
    fields = {f.name: f for f in fields_of(Settings) if f.section == "rank" and f.name != "preset"}
    assert list(fields) == [entry.name for entry in table()]
    for entry in table():
        key = fields[entry.name].key
        assert (key.low, key.high, fields[entry.name].type is int) == (entry.low, entry.high, entry.whole), entry.name
        assert key.doc.lower() == f"{entry.meaning}. {entry.effect}.".lower(), entry.name
    assert {f.key.choices for f in fields_of(Settings) if f.name == "preset"} == {tuple(PRESETS)}


def test_a_personal_feed_and_its_pages(network: SimnetProcess, tmp_path: Path) -> None:
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.caught_up(past_of(network))
        token = network.token(reader_of(network), SERVICE)
        seen: list[str] = []
        cursor: dict[str, object] = {}
        for _ in range(40):
            answer = feedgen.page(token, limit=7, **cursor)
            assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
            page = answer.json()
            assert len(page["feed"]) <= 7
            seen += [item["post"] for item in page["feed"]]
            if "cursor" not in page:
                break
            cursor = {"cursor": page["cursor"]}
        assert len(seen) == len(set(seen)) and len(seen) > 30
        assert all(parse_at_uri(uri) is not None for uri in seen)
        contexts = {item.get("feedContext") for item in feedgen.page(token, limit=50).json()["feed"]}
        assert any(str(context).startswith("likes") for context in contexts), contexts
        other = network.control("readers?k=2")[1]["person"]
        theirs = feedgen.page(network.token(other, SERVICE), limit=30).json()["feed"]
        assert [item["post"] for item in theirs] != seen[:30]
        feedgen.wait_for(lambda: feedgen.page(limit=30).json()["feed"], "something popular for the logged out")
        assert not any("did:" in str(line) for line in feedgen.log if line.get("level") == "info")


def test_stopped_and_started_again(network: SimnetProcess, tmp_path: Path) -> None:
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.caught_up(past_of(network))
        code, took_s = feedgen.stop()
        assert code == 0 and took_s < 10
        events = [line["event"] for line in feedgen.log]
        assert events[-1] == "stopped" and "stopping" in events
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        health = feedgen.health()
        assert health["store"]["people"] > 50  # remembered before anything was heard
        listening = feedgen.said("listening")
        assert "oldest" not in str(listening)
        assert health["jetstream"]["gaps"] == 0


def test_killed_under_load_and_started_again(network: SimnetProcess, tmp_path: Path) -> None:
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.wait_for(lambda: feedgen.health()["jetstream"]["events"] > 0, "the first events")
        feedgen.process.kill()
        feedgen.process.wait()
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.caught_up(past_of(network))
        token = network.token(reader_of(network), SERVICE)
        assert feedgen.page(token, limit=30).json()["feed"]
        assert feedgen.stop()[0] == 0


def test_without_a_network_it_says_so_once_and_serves(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with Feedgen(
            tmp_path, jetstream__urls=f"ws://127.0.0.1:{port}", identity__plc_url=f"http://127.0.0.1:{port}"
        ) as it:
            answer = it.page(limit=30)
            assert answer.status_code == 200 and answer.json()["feed"] == []
            time.sleep(3)
            warnings = [line for line in it.log if "jetstream" in str(line.get("logger"))]
            assert len(warnings) == 1, it.log
            assert it.health()["jetstream"]["state"] in ("waiting", "connecting")


def test_two_interrupts(network: SimnetProcess, tmp_path: Path) -> None:
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.said("answering")
        code, took_s = feedgen.stop(signal.SIGINT)
        assert code == 0 and took_s < 10


def test_a_second_process_on_the_same_folder_is_refused(network: SimnetProcess, tmp_path: Path) -> None:
    with Feedgen(tmp_path, **settings_for(network)) as first:
        first.said("answering")
        with Feedgen(tmp_path, **settings_for(network)) as second:
            assert second.process.wait(60) == 1
            second._reader.join(5)
            told = " ".join(str(line["event"]) for line in second.log)
            assert "Traceback" not in told and str(tmp_path / "data") in told


def test_a_part_that_dies_takes_the_process_with_it(network: SimnetProcess, tmp_path: Path) -> None:
    """Its own day's file turns to garbage under the feet of the writer: no retry can help."""
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.caught_up(past_of(network))
        for path in (tmp_path / "data" / "days").glob("*.open.db*"):
            with path.open("r+b") as file:
                file.write(b"\xff" * min(path.stat().st_size, 1 << 20))
        assert feedgen.process.wait(60) == 1
        feedgen._reader.join(5)
        assert any(line.get("level") == "critical" for line in feedgen.log)


def test_the_private_address_tells_how_it_is(network: SimnetProcess, tmp_path: Path) -> None:
    with Feedgen(tmp_path, service__private_bind="127.0.0.1:0", **settings_for(network)) as feedgen:
        private = f"http://{feedgen.said('the private address answers')['bind']}"
        assert httpx.get(f"{private}/livez").status_code == 200
        feedgen.caught_up(past_of(network))
        assert httpx.get(f"{private}/readyz").status_code == 200
        lines = httpx.get(f"{private}/metrics").text.splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}
        assert values["feedgen_ready"] == 1 and values["feedgen_store_people"] > 50
        assert abs(values["feedgen_ingest_newest_event_timestamp_seconds"] - time.time()) < 60
        assert httpx.get(f"{feedgen.url}/metrics").status_code == 404  # the public address knows nothing of it
        assert feedgen.stop()[0] == 0


def test_backed_up_while_it_runs_and_brought_back(network: SimnetProcess, tmp_path: Path) -> None:
    def feedgen_command(*arguments: str) -> str:
        command = [sys.executable, "-m", "feedgen", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout

    kept, again = tmp_path / "kept", tmp_path / "again"
    with Feedgen(tmp_path, **settings_for(network)) as feedgen:
        feedgen.caught_up(past_of(network))
        assert "all verified" in feedgen_command("backup", str(kept), "--set", f"store.dir={tmp_path / 'data'}")
        people = feedgen.health()["store"]["people"]
        assert feedgen.stop()[0] == 0
    again.mkdir()
    feedgen_command("restore", str(kept), "--set", f"store.dir={again / 'data'}")
    with Feedgen(again, **settings_for(network)) as feedgen:
        assert 50 < feedgen.health()["store"]["people"] <= people + 50
        assert "oldest" not in str(feedgen.said("listening"))
        feedgen.caught_up(past_of(network))
        assert feedgen.page(network.token(reader_of(network), SERVICE), limit=30).json()["feed"]
        assert feedgen.stop()[0] == 0
