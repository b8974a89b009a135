"""`feedgen viewer` beside a running service."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.cli.viewer import forget
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings, Store
from feedgen.feeds.contract import reader_key
from feedgen.serve.readers.viewer import Shown
from feedgen.simnet.server import Simnet
from feedgen.simnet.tokens import SEND_INTERACTIONS
from feedgen.store.pages import Outcome, ShownPage
from feedgen.store.viewers import Viewers
from tests.inside import EVENTS, running


async def command(folder: Path, *arguments: str) -> str:
    """`feedgen viewer ...` as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "feedgen", "viewer", *arguments, "--set", f"store.dir={folder / 'data'}"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_export_and_forget_beside_a_running_service(tmp_path: Path) -> None:
    async with Simnet.start(people=60, history_days=0.5, per_person_day=60.0, live_rate=1.0) as sim:
        reader = sim.readers(1)[0]
        did, key = sim.people.did(reader), reader_key(sim.people.did(reader))
        async with running(sim, tmp_path) as it:
            page = await it.page(reader, limit=20)
            await it.page(reader, limit=1)  # a peek is not served
            liked = page["feed"][3]
            body = {
                "interactions": [
                    {
                        "item": liked["post"],
                        "event": f"{EVENTS}interactionLike",
                        "feedContext": liked["feedContext"],
                        "reqId": page["reqId"],
                    }
                ]
            }
            headers = it.headers(reader, SEND_INTERACTIONS)
            assert (await it.client.post(f"/xrpc/{SEND_INTERACTIONS}", json=body, headers=headers)).status_code == 200
            await it.runtime.readers.history.flush()
            await it.runtime.readers.kept.flush()
            told = json.loads(await command(tmp_path, "export", did))
            assert told["account"]["did"] == did
            (kept,) = told["pages"]
            assert kept["feed"] == "for-you" and kept["preset"] in ("default", "cheap") and kept["position"] == 0
            assert [one["post"] for one in kept["posts"]] == [one["post"] for one in page["feed"]]
            (outcome,) = told["outcomes"]
            assert (outcome["post"], outcome["event"]) == (liked["post"], "interactionLike")
            assert (outcome["page"], outcome["from"]) == (kept["at"], kept["posts"][3]["from"])

            assert "Nothing is kept" in await command(tmp_path, "forget", did)
            assert it.runtime.catalog.services.readers.get(key) is None
            empty = json.loads(await command(tmp_path, "export", did))
            assert not empty["pages"] and not empty["outcomes"] and not empty["account"] and not empty["seen"]

            other = sim.readers(2)[1]
            await it.page(other, limit=20)
            await it.runtime.readers.history.flush()
            await it.heard(sim.set_account(other, "deleted"))
        async with await Viewers.open(tmp_path / "data") as viewers:
            assert await viewers.pages.pages_of(reader_key(sim.people.did(other))) == []
            assert await viewers.pages.to_forget() == []


async def test_forgetting_waits_for_the_next_start_where_nothing_runs(tmp_path: Path) -> None:
    settings = Settings(store=Store(dir=str(tmp_path)))
    did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
    with pytest.raises(FeedgenError, match=r"viewers\.db"):
        forget(settings, did)
    with pytest.raises(FeedgenError, match="is no account"):
        forget(settings, "alice")
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.put_readers([(reader_key(did), b"x")], 1)
        await asyncio.to_thread(forget, settings, did, 0.0)
        assert await viewers.reader(reader_key(did)) is None
        assert await viewers.pages.to_forget() == [did]


pages = st.tuples(st.integers(0, 9), st.integers(0, 3), st.lists(st.integers(0, 3), max_size=3))


@given(st.lists(pages, max_size=8), st.integers(0, 9), st.none() | st.integers(0, 3), st.integers(0, 3))
def test_the_page_that_showed_a_post(made: list[Any], at_us: int, list_us: int | None, post: int) -> None:
    shown = [ShownPage(at, 1, "f", "p", of, 0, posts, posts, "") for at, of, posts in sorted(made, key=lambda m: m[0])]
    before = [page for page in shown if page.at_us <= at_us and post in page.posts]
    named = [page for page in before if page.list_us == list_us]
    expected = (named or before or [None])[-1]
    assert Shown(shown).page(Outcome(at_us, 1, list_us, [post], [0], [0]), post) is expected
