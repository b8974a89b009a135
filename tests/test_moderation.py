"""Labels and blocks, through the whole service: a labeler's stream, the operator's commands, and pages."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from feedgen.core.ids import POST_NSID, PROFILE_NSID, VISIBILITY_NSID, make_tid
from feedgen.simnet.records import SimEvent
from feedgen.simnet.server import Simnet
from feedgen.store.moderation import Moderation
from tests.inside import Inside, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(people=60, history_days=0.5, per_person_day=60.0, live_rate=1.0) as sim:
        yield sim


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moderation")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def it(sim: Simnet, folder: Path) -> AsyncIterator[Inside]:
    async with running(sim, folder, public=True) as inside:
        yield inside


async def on_a_page(it: Inside, uri: str, person: int | None = None) -> bool:
    return uri in await it.all_posts(person, limit=100)


async def becomes(it: Inside, uri: str, shown: bool) -> None:
    async with asyncio.timeout(20):
        while await on_a_page(it, uri) != shown:
            await asyncio.sleep(0.1)


async def a_post(it: Inside, n: int) -> str:
    return (await it.all_posts(None, limit=100))[n]


@pytest.mark.parametrize("val", ["!hide", "!takedown", "porn", "graphic-media"])
async def test_a_labelled_post_is_gone_until_the_label_is_negated(it: Inside, sim: Simnet, val: str) -> None:
    uri = await a_post(it, 3)
    sim.labels.put(uri, "spam")  # counts for nothing here
    sim.labels.put(uri, val)
    await becomes(it, uri, shown=False)
    sim.labels.put(uri, val, neg=True)
    await becomes(it, uri, shown=True)


async def test_a_label_goes_from_the_list_that_is_being_read(it: Inside, sim: Simnet) -> None:
    first = await it.page(None, limit=10)
    later = (await it.page(None, limit=10, cursor=first["cursor"]))["feed"][5]["post"]
    sim.labels.put(later, "!hide")
    aside = it.runtime.archive.graph.aside
    await until(lambda: len(aside.hidden) == 1)
    assert later not in [one["post"] for one in (await it.page(None, limit=10, cursor=first["cursor"]))["feed"]]
    sim.labels.put(later, "!hide", neg=True)
    await until(lambda: not aside.hidden)


async def test_an_accounts_label_counts_for_all_its_posts_and_outlives_its_profile(it: Inside, sim: Simnet) -> None:
    uri = await a_post(it, 5)
    did = uri.split("/")[2]
    sim.labels.put(did, "!takedown")
    await becomes(it, uri, shown=False)
    assert did not in {post.split("/")[2] for post in await it.all_posts(None, limit=100)}
    person = sim.people.index(did)
    assert person is not None
    await it.heard(sim.set_account(person))  # active: sets the person's own flags anew
    assert not await on_a_page(it, uri)
    sim.labels.put(did, "!takedown", neg=True)
    await becomes(it, uri, shown=True)


async def test_two_labelers_do_not_undo_each_other(it: Inside, sim: Simnet) -> None:
    uri, other = await a_post(it, 2), "did:plc:otherotherotherotherothe"
    sim.labels.put(uri, "!hide")
    sim.labels.put(uri, "!hide", src=other)
    sim.labels.put(uri, "!hide", neg=True)
    await becomes(it, uri, shown=False)
    sim.labels.put(uri, "!hide", neg=True, src=other)
    await becomes(it, uri, shown=True)


async def test_a_label_that_has_ended_is_none(it: Inside, sim: Simnet) -> None:
    uri, another = await a_post(it, 1), await a_post(it, 4)
    sim.labels.put(uri, "!hide", exp="2020-01-01T00:00:00Z")
    sim.labels.put(another, "!hide", exp="2099-01-01T00:00:00Z")
    await becomes(it, another, shown=False)
    assert await on_a_page(it, uri)
    sim.labels.put(another, "!hide", neg=True)
    await becomes(it, another, shown=True)


async def test_garbage_ends_nothing_and_a_cut_stream_goes_on(it: Inside, sim: Simnet) -> None:
    uri = await a_post(it, 6)
    sim.labels.tell(5, 5)
    sim.labels.tell({"op": 1, "t": "#unknown"}, {})
    sim.labels.tell({"op": 1, "t": "#labels"}, {"seq": sim.labels.seq + 1, "labels": [5, {"uri": uri}]})
    sim.labels.cut()
    sim.labels.put(uri, "!hide")
    await becomes(it, uri, shown=False)
    assert sim.labels.cursors[0] == "0" and int(sim.labels.cursors[-1]) > 0
    sim.labels.put(uri, "!hide", neg=True)
    await becomes(it, uri, shown=True)


async def test_a_label_may_come_before_its_post(it: Inside, sim: Simnet) -> None:
    author = sim.people.did(sim.readers(3)[2])
    early = f"at://{author}/{POST_NSID}/{make_tid(sim.clock.now_us() + 5_000_000, 7)}"
    sim.labels.put(early, "!hide")
    sim.labels.put("did:plc:nobodynobodynobodynobody", "!hide")
    uri = await a_post(it, 2)
    sim.labels.put(uri, "!hide")
    sim.labels.put(uri, "!hide", neg=True)
    await becomes(it, uri, shown=True)
    record = b'{"$type":"app.bsky.feed.post","text":"x","createdAt":"2026-01-01T00:00:00Z"}'
    await it.heard(
        sim.emit(SimEvent(0, 0, author, "commit", "create", POST_NSID, early.rsplit("/", 1)[1], record=record))
    )
    aside = it.runtime.archive.graph.aside
    await until(lambda: len(aside.hidden) == 1)
    sim.labels.put(early, "!hide", neg=True)
    await until(lambda: not aside.hidden)


async def test_block_and_unblock_beside_a_running_service(it: Inside, sim: Simnet, folder: Path) -> None:
    uri, did = await a_post(it, 3), (await a_post(it, 8)).split("/")[2]
    another = await a_post(it, 8)

    async def command(*arguments: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "feedgen", *arguments, "--set", f"store.dir={folder / 'data'}"),
            *("--set", f"appview.url={sim.urls.appview}", "--set", f"service.private_bind={it.app.private_address}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == code, out
        return out.decode()

    await command("block", uri, did)
    await becomes(it, uri, shown=False)
    await becomes(it, another, shown=False)
    assert (await command("block")).split() == [uri, did]
    await command("unblock", uri, did)
    await becomes(it, uri, shown=True)
    await becomes(it, another, shown=True)
    assert "was not blocked" in await command("unblock", did, code=1)
    assert "No account is called alice.example.com" in await command("block", "alice.example.com", code=1)
    assert "neither an account nor a post" in await command("block", uri, "alice", code=1)
    assert not (await command("block")).split()  # nothing was done by halves
    # As people have them in the clipboard.
    person = sim.people.index(did)
    assert person is not None
    handle, rkey = sim.world.handle(person), another.rsplit("/", 1)[1]
    await command("block", f"@{handle.title()}", f"https://bsky.app/profile/{handle}/post/{rkey}")
    assert set((await command("block")).split()) == {did, another}
    await command("unblock", f"https://bsky.app/profile/{did}", f"bsky.app/profile/{handle}/post/{rkey}")
    assert not (await command("block")).split()
    told = await command("viewer", "export", f"https://bsky.app/profile/{handle}")
    assert json.loads(told)["did"] == did
    assert "ranking" in await command("why", handle, f"https://bsky.app/profile/{handle}/post/{rkey}")


async def test_what_was_said_is_known_after_a_restart(sim: Simnet, tmp_path: Path) -> None:
    async with running(sim, tmp_path) as it:
        labelled, blocked = await a_post(it, 2), (await a_post(it, 7)).split("/")[2]
        seq = sim.labels.put(labelled, "!hide")
        await becomes(it, labelled, shown=False)
    sim.labels.put("did:plc:nobodynobodynobodynobody", "!hide")
    async with await Moderation.open(tmp_path / "data") as store:
        await store.block(blocked, 1)
        assert await store.count() >= 1
    async with running(sim, tmp_path) as it:
        await becomes(it, labelled, shown=False)
        assert blocked not in {post.split("/")[2] for post in await it.all_posts(None, limit=100)}
        await until(lambda: sim.labels.cursors[-1] == str(seq))
    sim.labels.put(labelled, "!hide", neg=True)


ADULT = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "porn"}]}


@pytest.mark.parametrize(
    ("collection", "said", "taken_back"),
    [
        (PROFILE_NSID, {"labels": ADULT}, {}),
        (VISIBILITY_NSID, {"hideFromAlgorithmicRecommendations": True}, {"hideFromAlgorithmicRecommendations": False}),
    ],
    ids=["an adult profile", "an opt-out"],
)
async def test_what_people_say_of_themselves_counts_on_the_next_page(
    it: Inside, sim: Simnet, collection: str, said: dict[str, object], taken_back: dict[str, object]
) -> None:
    author = (await a_post(it, 4)).split("/")[2]
    for value, shown in ((said, False), (taken_back, True)):
        record = msgspec.json.encode({"$type": collection, **value})
        await it.heard(sim.emit(SimEvent(0, 0, author, "commit", "update", collection, "self", record=record)))
        assert (author in {uri.split("/")[2] for uri in await it.all_posts(None, limit=100)}) == shown


@pytest.mark.parametrize("status", ["deactivated", "suspended", "takendown"])
async def test_an_account_that_is_away_is_gone_from_the_next_page(it: Inside, sim: Simnet, status: str) -> None:
    author = (await a_post(it, 4)).split("/")[2]
    person = sim.people.index(author)
    assert person is not None
    for state, shown in ((status, False), ("", True)):
        await it.heard(sim.set_account(person, state))
        assert (author in {uri.split("/")[2] for uri in await it.all_posts(None, limit=100)}) == shown


async def set_aside(it: Inside, uri: str, on: bool = True) -> None:
    """Until the service heeds a label or a block of this post, or no longer does."""
    post, aside = it.runtime.catalog.preview().post(uri), it.runtime.archive.graph.aside
    await until(lambda: (post in aside.hidden or post in aside.adult) == on)


async def seen_by_strangers(it: Inside, path: str, **query: str) -> str:
    """The page as somebody without an account gets it, without JavaScript: all that the server would say."""
    answer = await it.client.get(path, params=query | {"plain": "1"}, timeout=30)
    assert answer.status_code in (200, 403, 404), answer.text
    return answer.text


async def somebody_shown(it: Inside, sim: Simnet, skip: int = 0) -> int:
    """A person whose list strangers may see. Some of the made-up people asked for signed-in viewers only."""
    for person in sim.readers(20):
        if "data-uri" in await seen_by_strangers(it, "/playground", who=sim.people.did(person)):
            if not skip:
                return person
            skip -= 1
    raise AssertionError("nobody's list is shown")


async def words_of(sim: Simnet, uri: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        posts = (await client.get(f"{sim.urls.appview}/xrpc/app.bsky.feed.getPosts", params={"uris": uri})).json()
    return str(posts["posts"][0]["record"]["text"])


@pytest.mark.parametrize("val", ["porn", "!hide"])
async def test_labelled_posts_show_neither_text_nor_pictures_to_strangers(it: Inside, sim: Simnet, val: str) -> None:
    reader = sim.people.did(await somebody_shown(it, sim))
    listed = await seen_by_strangers(it, "/playground", who=reader)
    cards = re.findall(r'data-uri="([^"]+)"(.*?)</article>', listed, re.DOTALL)
    uri = next(uri for uri, card in cards[2:] if "signed-in people only" not in card)
    words = html.escape(await words_of(sim, uri))
    assert words in listed and words in await seen_by_strangers(it, "/why", who=reader, post=uri)
    assert len((await it.client.get("/posts", params={"uris": uri})).json()["posts"]) == 1
    sim.labels.put(uri, val)
    await set_aside(it, uri)
    try:
        assert words not in await seen_by_strangers(it, "/playground", who=reader)
        left_out = await seen_by_strangers(it, "/left-out", who=reader)
        why = await seen_by_strangers(it, "/why", who=reader, post=uri)
        assert words not in left_out + why
        card = re.search(rf'data-uri="{re.escape(uri)}"([^>]*)>', left_out)
        if val == "porn":  # named, for those who want to see it in the app
            assert card is not None and "labelled as adult" in card[1] and "labelled as adult" in why
        else:
            assert card is None and uri not in left_out and "operator of this service hides it" in left_out + why
        assert (await it.client.get("/posts", params={"uris": uri})).json() == {"posts": []}
        taste = await it.client.get("/playground", params={"who": uri})
        assert taste.status_code == 403 and "This list is private" in taste.text
    finally:
        sim.labels.put(uri, val, neg=True)
        await set_aside(it, uri, on=False)


async def test_a_blocked_post_is_on_no_page_of_ours(it: Inside, sim: Simnet, folder: Path) -> None:
    reader = sim.people.did(await somebody_shown(it, sim))
    uri = re.findall(r'data-uri="([^"]+)"', await seen_by_strangers(it, "/playground", who=reader))[1]
    async with await Moderation.open(folder / "data") as store:
        await store.block(uri, 1)
        await set_aside(it, uri)
        for path in ("/", "/playground", "/left-out"):
            assert uri not in await seen_by_strangers(it, path, who=reader)
        assert "Not in the ranking" in await seen_by_strangers(it, "/why", who=reader, post=uri)
        assert (await it.client.get("/also-liked", params={"post": uri})).status_code == 404
        await store.unblock(uri)
    await set_aside(it, uri, on=False)


LABELLED = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]}


@pytest.mark.parametrize("why_not", ["signed-in viewers only", "deactivated", "blocked"])
async def test_whose_likes_strangers_may_not_see(it: Inside, sim: Simnet, folder: Path, why_not: str) -> None:
    person = await somebody_shown(it, sim, skip=1)
    reader = sim.people.did(person)
    post = re.findall(r'data-uri="([^"]+)"', await seen_by_strangers(it, "/playground", who=reader))[0]

    async def profile(record: dict[str, object]) -> None:
        told = msgspec.json.encode({"$type": PROFILE_NSID, **record})
        await it.heard(sim.emit(SimEvent(0, 0, reader, "commit", "update", PROFILE_NSID, "self", record=told)))

    async def statuses() -> set[int]:
        asked = [("/playground", {}), ("/playground/lists", {}), ("/why", {"post": post}), ("/left-out", {})]
        answers = [await it.client.get(path, params={"who": reader, **more}, timeout=30) for path, more in asked]
        assert all("data-uri" not in answer.text or answer.status_code == 200 for answer in answers)
        return {answer.status_code for answer in answers}

    async with await Moderation.open(folder / "data") as store:
        assert await statuses() == {200}
        if why_not == "blocked":
            await store.block(reader, 1)
        else:
            await (
                profile({"labels": LABELLED})
                if why_not.startswith("signed")
                else it.heard(sim.set_account(person, why_not))
            )
        async with asyncio.timeout(20):
            while await statuses() != {403}:
                await asyncio.sleep(0.1)
        private = await it.private("/playground", who=reader)
        assert private.status_code == 200 and "data-uri" in private.text  # the operator may
        await store.unblock(reader)
        await profile({})
        await it.heard(sim.set_account(person))
        async with asyncio.timeout(20):
            while await statuses() != {200}:
                await asyncio.sleep(0.1)


async def test_pages_take_what_people_have_in_the_clipboard(it: Inside, sim: Simnet) -> None:
    person = await somebody_shown(it, sim)
    reader, handle = sim.people.did(person), sim.world.handle(person)
    playground = await seen_by_strangers(it, "/playground", who=reader)
    expected = re.findall(r'data-uri="([^"]+)"', playground)
    post = re.findall(r'data-uri="([^"]+)">', playground)[0]  # one without a veil: strangers may see it
    author = sim.people.index(post.split("/")[2])
    assert author is not None
    page = f"https://bsky.app/profile/{sim.world.handle(author)}/post/{post.rsplit('/', 1)[1]}"
    for who in (
        handle,
        f"@{handle}",
        f"at://{reader}",
        f"https://bsky.app/profile/{handle}",
        f"bsky.app/profile/{reader}",
    ):
        listed = await seen_by_strangers(it, "/playground", who=who)
        assert re.findall(r'data-uri="([^"]+)"', listed)[:5] == expected[:5]
        assert "What made its score" in await seen_by_strangers(it, "/why", who=who, post=page)
    assert "What made its score" in await seen_by_strangers(it, "/why", who=reader, post=post)
    assert (await it.client.get("/also-liked", params={"post": page})).status_code == 200
    assert (await it.client.get("/why", params={"who": reader, "post": handle})).status_code == 400
