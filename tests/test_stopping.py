"""Stopping while the disk or the machine is slow."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from feedgen.simnet.server import Simnet
from tests.inside import PATIENCE_S, running


async def test_the_archive_is_closed_after_the_last_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    said: list[str] = []
    async with Simnet.start(people=40, history_days=0.5, live_rate=20) as sim, running(sim, tmp_path) as it:
        archive = it.runtime.archive
        apply, close = archive.recorder.apply, archive.close

        def slowly(batch: Any) -> None:
            begun.set()
            assert go_on.wait(PATIENCE_S)
            apply(batch)
            said.append("applied")

        def closing() -> None:
            said.append("closed")
            close()

        monkeypatch.setattr(archive.recorder, "apply", slowly)
        monkeypatch.setattr(archive, "close", closing)
        assert await asyncio.to_thread(begun.wait, PATIENCE_S)
        it.app.stop()
        await asyncio.sleep(0.3)
        assert said == []
        go_on.set()
    assert set(said[:-1]) == {"applied"} and said[-1] == "closed"
