"""docs/stream.md: its notifiers are run as they stand there, its tables are compared with the code."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from feedgen.core.settings import Stream
from feedgen.simnet.server import Simnet
from feedgen.stream.filters import Query
from tests.inside import running
from tests.stream.listening import anybody, say

TEXT = Path("docs/stream.md").read_text()


def program(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def test_every_parameter_is_documented() -> None:
    table = TEXT.partition("## What to ask for")[2].partition("## Formats")[0]
    told = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert told == (set(Query.__dataclass_fields__) - {"languages"}) | {"langs", "lists", "token"}


@pytest.mark.needs("node")
async def test_the_notifiers_tell_of_a_mention(tmp_path: Path) -> None:
    for name, language in (("notify.py", "python"), ("notify.mjs", "javascript")):
        text = program(language)
        assert len(text.splitlines()) <= 24
        (tmp_path / name).write_text(text)
    async with (
        Simnet.start(people=30, history_days=0.02, live_rate=1.0, odd_share=0.0) as sim,
        running(sim, tmp_path, stream=Stream(bind="127.0.0.1:0", patience_ms=10_000)) as it,
    ):
        stream = it.runtime.stream
        assert stream is not None
        address = f"ws://{stream.address}/stream"
        # Node has had WebSocket for longer than without this word.
        commands = (sys.executable, "notify.py"), ("node", "--experimental-websocket", "notify.mjs")
        running_now = [
            await asyncio.create_subprocess_exec(*words, address, "example.com", cwd=tmp_path, stdout=PIPE)
            for words in commands
        ]
        try:
            async with asyncio.timeout(30):
                while len(stream.hub.consumers) < 2:
                    await asyncio.sleep(0.05)
                say(sim, anybody(sim)[1], "nothing of interest")
                say(sim, anybody(sim)[2], "look at https://example.com/page")
                for process in running_now:
                    assert process.stdout is not None
                    line = (await process.stdout.readline()).decode().strip()
                    assert line == f"@{sim.people.handle(anybody(sim)[2])}: look at https://example.com/page"
        finally:
            for process in running_now:
                process.kill()
                await process.wait()
