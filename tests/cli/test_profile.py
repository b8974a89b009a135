"""The flame graph: of threads with known work, and of the running service over its private address."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from feedgen import cli
from feedgen.cli.flame import draw
from feedgen.cli.profile import parse_duration, shares
from feedgen.core.errors import FeedgenError
from feedgen.core.sampling import Stacks, sample
from feedgen.simnet.process import SimnetProcess
from tests.process import SERVICE, Feedgen, of_network

SVG = "{http://www.w3.org/2000/svg}"


def computing(over: threading.Event) -> None:
    while not over.is_set():
        sum(range(1000))


def waiting(over: threading.Event) -> None:
    over.wait()


def cpu_of(work: Callable[[threading.Event], None], name: str) -> tuple[threading.Thread, threading.Event]:
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), name=name)
    thread.start()
    return thread, over


def test_who_computes_weighs_and_who_waits_does_not() -> None:
    threads = [cpu_of(computing, "busy_0"), cpu_of(waiting, "idle_0")]
    before_s = time.process_time()
    stacks = sample(1.0)
    used_s = time.process_time() - before_s
    for thread, over in threads:
        over.set()
        thread.join()
    busy = [us for stack, us in stacks.items() if stack.startswith("busy;") and "test_profile:computing" in stack]
    # Nearly all that the process used is found under the function that used it.
    assert 0.5 * used_s < sum(busy) / 1e6 < 1.1 * used_s
    assert sum(us for stack, us in stacks.items() if stack.startswith("idle;")) < 0.05 * used_s * 1e6


def test_the_drawing() -> None:
    stacks = Stacks(
        {"rank;feedgen.a:f;feedgen.b:<g>": 750_000, "rank;feedgen.a:f": 250_000, "loop;asyncio:run": 1_000_000}
    )
    svg = ElementTree.fromstring(draw(stacks, "a & b"))
    widths = {}
    for group in svg.iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None and rect is not None and title.text is not None
        widths[title.text] = round(float(rect.attrib["width"]))
    assert widths == {
        "all: 2.00 s, 100.0%": 1200,
        "loop: 1.00 s, 50.0%": 600,
        "asyncio:run: 1.00 s, 50.0%": 600,
        "rank: 1.00 s, 50.0%": 600,
        "feedgen.a:f: 1.00 s, 50.0%": 600,
        "feedgen.b:<g>: 0.75 s, 37.5%": 450,
    }
    assert shares(stacks) == [("rank", 1_000_000), ("loop", 1_000_000)]
    assert ElementTree.fromstring(draw(Stacks(), "nothing")).tag == f"{SVG}svg"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2m", 120), ("1.5", 1.5)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-1", "2h", "1e9", "61m", "s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(FeedgenError, match="no duration"):
        parse_duration(text)


def test_the_running_service(tmp_path: Path) -> None:
    with (
        SimnetProcess("--people", "80", "--days", "0.5", "--wait", "--rate", "50") as network,
        Feedgen(
            tmp_path,
            **of_network(network),
            service__private_bind="127.0.0.1:0",
        ) as it,
    ):
        bind = it.said("the private address answers")["bind"]
        it.said("answering")
        over = threading.Event()
        tokens = [network.token(person, SERVICE) for person in range(20)]

        def ask() -> None:
            while not over.is_set():
                with suppress(httpx.HTTPError):  # a machine that is busy with something else
                    it.page(tokens[0])
                tokens.append(tokens.pop(0))

        asking = threading.Thread(target=ask)
        asking.start()
        out = tmp_path / "profile.svg"
        arguments = ["profile", "2s", "-o", str(out), "--set", f"service.private_bind={bind}"]
        done = CliRunner().invoke(cli.cli, arguments)
        stacks = CliRunner().invoke(cli.cli, [*arguments[:3], str(tmp_path / "stacks.txt"), *arguments[4:]])
        over.set()
        asking.join()
        assert done.exit_code == stacks.exit_code == 0, done.output + stacks.output
        assert "s of processor time in 2 s" in done.output and "MainThread" in done.output
        assert "feedgen.app:App.serve" in out.read_text() or "feedgen.serve" in out.read_text()
        assert "MainThread;" in (tmp_path / "stacks.txt").read_text() and "did:" not in out.read_text()
        for seconds in ("", "0", "60", "-1", "nan", "1e1"):
            assert httpx.get(f"http://{bind}/profile.json", params={"seconds": seconds}).status_code == 400
        assert httpx.get(f"{it.url}/profile.json", params={"seconds": "1"}).status_code == 404
