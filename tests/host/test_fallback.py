"""The running service hands the VPS what it answers while the PC is off: into a folder, and through the tunnel."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from feedgen import cli
from feedgen.core.errors import FeedgenError
from feedgen.core.fallback import DID_PATH, NAMES, SKELETON
from feedgen.core.settings_network import Fallback
from feedgen.host.fallback import HANDED, TURNS, Pusher, push
from feedgen.serve.out.egress import Egress, Rules
from feedgen.simnet.process import SimnetProcess
from feedgen.simnet.server import Simnet
from tests.host.tailscale import put
from tests.inside import Inside, running, until
from tests.process import PUBLISHER, SERVICE, Feedgen, of_network


def pusher(it: Inside, **fallback: Any) -> Pusher:
    settings = msgspec.structs.replace(it.app.settings, fallback=Fallback(**fallback))
    address = it.client.base_url.netloc.decode()
    return Pusher(settings, lambda: address, first_s=0.01)


async def test_a_fresh_page_goes_to_the_folder_and_to_the_vps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    egress = Egress(Rules(frozenset(["127.0.0.1"]), there))
    address = await egress.start("127.0.0.1:0")
    async with (
        Simnet.start(people=60, history_days=0.5, per_person_day=60.0, live_rate=1.0) as sim,
        running(sim, tmp_path) as it,
    ):
        before = TURNS.value("handed")
        task = asyncio.create_task(pusher(it, url=f"http://{address}", dir=str(here)).run())
        await until(lambda: TURNS.value("handed") > before)
        task.cancel()
        for folder in (here, there):
            assert {f"/{path.relative_to(folder)}" for path in folder.rglob("*.json")} == set(NAMES)
            posts = [item["post"] for item in json.loads((folder / SKELETON[1:]).read_text())["feed"]]
            assert posts == await it.posts(None, feed="popular", limit=50)
            assert json.loads((folder / DID_PATH[1:]).read_text())["id"] == SERVICE
            assert PUBLISHER in (folder / NAMES[1][1:]).read_text()
        assert HANDED.value() > 1e9

        # The VPS is away for a while: said once, tried again.
        await egress.stop()
        failed = TURNS.value("failed")
        away = pusher(it, url=f"http://{address}")
        task = asyncio.create_task(away.run())
        await until(lambda: TURNS.value("failed") > failed)
        task.cancel()
        assert sum("could not be handed on" in line for line in caplog.messages) == 1
        assert "feedgen-egress running" in caplog.text


def test_the_process_does_it_by_itself_and_measures_its_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", put(tmp_path, "1.76.6-running"))
    with (
        SimnetProcess("--people", "60", "--days", "0.5", "--wait", "--rate", "5") as network,
        Feedgen(
            tmp_path,
            **of_network(network),
            service__private_bind="127.0.0.1:0",
            tunnel__kind="tailscale",
            tunnel__vps="vps",
            fallback__dir=tmp_path / "fallback",
        ) as it,
    ):
        private = it.said("the private address answers")["bind"]
        it.wait_for((tmp_path / "fallback" / SKELETON[1:]).exists, "the fallback")
        lines = httpx.get(f"http://{private}/metrics").text.splitlines()
        assert 'feedgen_tunnel_up{kind="tailscale"} 1' in lines and 'feedgen_tunnel_vps{way="direct"} 1' in lines
        arguments = ["fallback", str(tmp_path / "by-hand"), "--url", it.url]
        arguments += ["--set", f"service.publisher_did={PUBLISHER}"]
        done = CliRunner().invoke(cli.cli, arguments)
        assert done.exit_code == 0 and "posts" in done.output, done.output
        assert (tmp_path / "by-hand" / SKELETON[1:]).exists()
        assert it.stop()[0] == 0


async def test_what_the_vps_refuses_is_said() -> None:
    egress = Egress(Rules(frozenset(["127.0.0.2"])))
    address = await egress.start("127.0.0.1:0")
    with pytest.raises(FeedgenError, match="403 this machine may not call"):
        await asyncio.to_thread(push, f"http://{address}", {SKELETON: {"feed": []}})
    await egress.stop()
