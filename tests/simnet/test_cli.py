"""The command, as somebody else's program would use it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from feedgen.simnet.cli import main
from feedgen.simnet.people import People
from feedgen.simnet.process import SimnetProcess
from tests.simnet.test_tokens import unpack
from tests.simnet.wiretap import V2, RawSocket, read

AUD = "did:web:feed.example"


def test_a_process_from_its_first_line_to_its_last() -> None:
    with SimnetProcess(
        "--people", "60", "--days", "0.2", "--wait", "--lookback-h", "-1", "--hosts", "v2,legacy"
    ) as sim:
        status = sim.control("")
        assert (status["past"], status["people"]) == (1.0, 60)
        [first, *_] = asyncio.run(read(f"{sim.urls.jetstream[0]}{V2}?cursor=0", 20))
        assert first["payload"]["seq"] == 1
        assert len(asyncio.run(read(f"{sim.urls.jetstream[1]}/subscribe?cursor=0", 20))) == 20
        [reader] = sim.control("readers?k=1")
        claims = json.loads(unpack(sim.token(reader["person"], AUD).split(".")[1]))
        assert (claims["iss"], claims["aud"]) == (reader["did"], AUD)
        assert abs(claims["iat"] - time.time()) < 60
        faults = sim.control("faults", {"kind": "refuse", "where": "plc", "duration_s": 60, "status": 500})["faults"]
        assert faults[0]["kind"] == "refuse"
        assert httpx.get(f"{sim.urls.plc}/{reader['did']}").status_code == 500
        assert sim.control("faults", method="DELETE") == {"ended": 1}
        assert httpx.get(f"{sim.urls.plc}/{reader['did']}").status_code == 200
        assert sim.stop() == 0


async def test_sigterm_says_1001() -> None:
    with SimnetProcess("--people", "60", "--days", "0.05", "--hosts", "v2") as sim:
        async with RawSocket.open(f"{sim.urls.jetstream[0]}{V2}") as raw:
            sim.process.send_signal(signal.SIGTERM)
            while True:
                opcode, payload = await asyncio.wait_for(raw.frame(), 5)
                if opcode == 8:
                    break
        assert int.from_bytes(payload[:2], "big") == 1001
        assert sim.process.wait(10) == 0


def test_life_goes_on() -> None:
    """Events keep coming, at about the rate that was asked for, and they happen now."""
    with SimnetProcess(
        "--people", "100", "--days", "0.1", "--rate", "40", "--odd", "0", "--wait", "--hosts", "v2"
    ) as sim:
        before, began_s = sim.control(""), time.monotonic()
        time.sleep(2)
        while (after := sim.control(""))["events"] <= before["events"] + 10 and time.monotonic() < began_s + 30:
            time.sleep(0.2)  # whoever shares the machine may be busy
        assert 10 < after["events"] - before["events"] < 200 * (time.monotonic() - began_s)
        assert abs(after["last_time_us"] / 1e6 - time.time()) < 5


def free_row(ports: int) -> int:
    """The first of so many free ports, one beside the other."""
    for _ in range(100):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
            for port in range(first + 1, first + ports):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no ports are free")


def test_ports_in_order() -> None:
    first = free_row(7)
    with SimnetProcess("--people", "30", "--days", "0", "--port", str(first), "--hosts", "legacy,v2") as sim:
        urls = [sim.urls.pds, sim.urls.appview, sim.urls.plc, sim.urls.web, sim.urls.control, *sim.urls.jetstream]
    assert [int(url.rpartition(":")[2]) - first for url in urls] == list(range(7))


def test_a_token_without_a_network() -> None:
    done = CliRunner().invoke(main, ["token", "--person", "3", "--people", "50", "--seed", "9", "--aud", AUD])
    claims = json.loads(unpack(done.output.strip().split(".")[1]))
    assert claims["iss"] == People(9, 50).dids[3]


@pytest.mark.parametrize(
    "words",
    [
        ["--hosts", "v3"],
        ["--hosts", ""],
        ["--people", "1"],
        ["token", "--person", "50", "--people", "50", "--aud", AUD],
    ],
)
def test_what_is_refused(words: list[str]) -> None:
    done: Any = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "Error" in done.output
