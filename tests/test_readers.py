"""What readers meet, through the whole service and real HTTP, on a made-up network."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from feedgen.core.ids import POST_NSID, PROFILE_NSID, parse_at_uri
from feedgen.feeds.contract import reader_key
from feedgen.rank.tongues import ON_PAGE
from feedgen.simnet.records import SimEvent
from feedgen.simnet.server import Simnet
from feedgen.store.viewers import Viewers
from tests.inside import Inside, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(people=100, history_days=1.0, per_person_day=60.0, live_rate=1.0) as sim:
        yield sim


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def it(sim: Simnet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    async with running(sim, tmp_path_factory.mktemp("readers")) as inside:
        yield inside


@pytest.fixture(scope="module")
def readers(sim: Simnet) -> list[int]:
    """Different ones for each test that changes what is known of its reader."""
    return sim.readers(12)


async def test_pages_follow_on_each_other(it: Inside, readers: list[int]) -> None:
    found = await it.all_posts(readers[0], limit=30)
    assert len(found) == len(set(found)) > 60  # three pages at least
    first = await it.posts(readers[1], limit=100)
    in_pieces: list[str] = []
    cursor: dict[str, str] = {}
    while len(in_pieces) < len(first):
        page = await it.page(readers[1], limit=7, **cursor)
        in_pieces += [item["post"] for item in page["feed"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}
    assert in_pieces[: len(first)] == first


async def test_a_peek_is_neither_served_nor_seen(it: Inside, sim: Simnet, readers: list[int]) -> None:
    peeked = await it.posts(readers[2], limit=1)
    assert len(peeked) == 1
    assert it.runtime.catalog.services.readers.get(reader_key(sim.people.did(readers[2]))) is None
    first = await it.posts(readers[2], limit=30)
    assert await it.posts(readers[2], limit=1) == first[:1]
    state = it.runtime.catalog.services.readers.get(reader_key(sim.people.did(readers[2])))
    assert state is not None and not state.seen.buckets and sum(map(len, state.served.buckets.values())) == 30


async def test_seen_posts_sink_on_the_next_page(it: Inside, readers: list[int]) -> None:
    first = await it.posts(readers[3], limit=30)
    assert await it.posts(readers[3], limit=30) == first  # served is not seen
    await it.tell(readers[3], "interactionSeen", first[:10])
    second = await it.posts(readers[3], limit=30)
    assert not set(first[:10]) & set(second)
    assert len(set(first[10:]) & set(second)) >= 15


async def test_show_less_and_more(it: Inside, readers: list[int]) -> None:
    first = await it.posts(readers[4], limit=30)
    unwanted = parse_at_uri(first[0])
    assert unwanted is not None
    await it.tell(readers[4], "requestLess", [first[0]])
    after = await it.posts(readers[4], limit=100)
    assert first[0] not in after
    of_author = [uri for uri in await it.posts(readers[5], limit=100) if uri.split("/")[2] == unwanted.did]
    await it.tell(readers[4], "requestLess", of_author[:2] or first[1:2])
    if len(of_author) > 1:
        assert unwanted.did not in {uri.split("/")[2] for uri in await it.all_posts(readers[4], limit=100)}
    before = await it.page(readers[5], limit=100)
    liked = before["feed"][40]["post"]
    await it.tell(readers[5], "requestMore", [liked])
    now = await it.page(readers[5], limit=100)
    assert liked not in [item["post"] for item in now["feed"]][:40]  # a seed now, and no longer news
    assert [item["post"] for item in now["feed"]] != [item["post"] for item in before["feed"]]


async def test_a_like_is_gone_from_the_next_first_page(it: Inside, sim: Simnet, readers: list[int]) -> None:
    first = await it.posts(readers[6], limit=30)
    began_s = time.monotonic()
    await it.heard(sim.like(readers[6], first[0]))
    assert first[0] not in await it.all_posts(readers[6], limit=100)
    assert time.monotonic() - began_s < 10


async def test_posts_deleted_while_paging_are_left_out(it: Inside, sim: Simnet, readers: list[int]) -> None:
    page = await it.page(readers[7], limit=10)
    ahead = [item["post"] for item in (await it.page(readers[7], limit=10, cursor=page["cursor"]))["feed"]]
    gone = parse_at_uri(ahead[4])
    assert gone is not None
    await it.heard(sim.emit(SimEvent(0, 0, gone.did, "commit", "delete", POST_NSID, gone.rkey)))
    again = [item["post"] for item in (await it.page(readers[7], limit=10, cursor=page["cursor"]))["feed"]]
    assert ahead[4] not in again and len(again) == 10
    assert again[:9] == ahead[:4] + ahead[5:]


async def test_logged_out_readers_share_a_list_in_their_language(it: Inside, sim: Simnet, readers: list[int]) -> None:
    answers = [await it.ask(None, feed, languages="de-DE, en;q=0.5", limit=30) for feed in ("for-you", "for-you")]
    assert [answer.headers["content-language"] for answer in answers] == ["de, en"] * 2
    assert answers[0].json()["reqId"] == answers[1].json()["reqId"]
    assert len(answers[0].json()["feed"]) == 30
    author = answers[0].json()["feed"][0]["post"].split("/")[2]
    assert author in {uri.split("/")[2] for uri in await it.posts(readers[0], feed="popular", limit=30)}
    profile = {
        "$type": PROFILE_NSID,
        "labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]},
    }
    record = msgspec.json.encode(profile)
    await it.heard(sim.emit(SimEvent(0, 0, author, "commit", "update", PROFILE_NSID, "self", record=record)))
    for feed in ("for-you", "popular"):
        public = {uri.split("/")[2] for uri in await it.all_posts(None, feed=feed, limit=100)}
        assert public and author not in public
    assert author in {uri.split("/")[2] for uri in await it.posts(readers[0], feed="popular", limit=30)}


async def test_a_personal_page_names_its_languages(it: Inside, sim: Simnet, readers: list[int]) -> None:
    """Those of its posts, the most frequent first, whatever the app asked for."""
    for languages in ("", "en"):
        answer = await it.ask(readers[0], languages=languages, limit=30)
        posts = [item["post"] for item in answer.json()["feed"]]
        found: Counter[str] = Counter()
        async with httpx.AsyncClient(trust_env=False) as client:
            for some in (posts[:25], posts[25:]):
                asked = await client.get(f"{sim.urls.appview}/xrpc/app.bsky.feed.getPosts", params={"uris": some})
                found.update(post["record"].get("langs", [""])[0] for post in asked.json()["posts"])
        del found[""]
        named = answer.headers["content-language"].split(", ")
        assert set(named) == {language for language, n in found.items() if n > ON_PAGE * len(posts)}
        assert [found[language] for language in named] == sorted((found[language] for language in named), reverse=True)


async def test_videos(it: Inside, sim: Simnet, readers: list[int]) -> None:
    found = await it.all_posts(readers[0], feed="videos-for-you", limit=50)
    records = [sim.world.post(uri) for uri in found]
    assert found and all(post is not None and b"app.bsky.embed.video" in post.record for post in records)


@pytest.mark.parametrize("cursor", ["x", "A" * 44, "0", "%00", "=" * 80])
async def test_a_cursor_that_nobody_gave(it: Inside, readers: list[int], cursor: str) -> None:
    answer = await it.ask(readers[0], cursor=cursor)
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")


async def test_another_readers_cursor_gives_ones_own_list(it: Inside, readers: list[int]) -> None:
    theirs = await it.page(readers[8], limit=10)
    mine = await it.posts(readers[9], limit=10)
    page = await it.page(readers[9], limit=10, cursor=theirs["cursor"])
    assert len(page["feed"]) == 10 and not {item["post"] for item in page["feed"]} & set(mine)
    assert {item["post"] for item in page["feed"]} & set(await it.posts(readers[9], limit=30))


async def test_after_a_restart(sim: Simnet, readers: list[int], tmp_path: Path) -> None:
    """Paging goes on without repeats; what was seen and unwanted is remembered."""
    reader, other = readers[10], readers[11]
    async with running(sim, tmp_path) as it:
        first = await it.page(reader, limit=20)
        before = [item["post"] for item in first["feed"]]
        theirs = await it.posts(other, limit=30)
        await it.tell(other, "requestLess", [theirs[0]])
        await it.tell(other, "interactionSeen", theirs[1:6])
    async with running(sim, tmp_path) as it:
        second = await it.page(reader, limit=20, cursor=first["cursor"])
        after = [item["post"] for item in second["feed"]]
        assert len(after) == 20 and not set(before) & set(after)
        third = await it.page(reader, limit=20, cursor=second["cursor"])
        assert not {item["post"] for item in third["feed"]} & {*before, *after}
        again = await it.posts(other, limit=30)
        assert not set(theirs[:6]) & set(again)
        assert theirs[0] not in await it.all_posts(other, limit=100)


async def test_a_deleted_readers_state_is_erased(sim: Simnet, tmp_path: Path) -> None:
    reader = sim.readers(14)[13]
    did = sim.people.did(reader)
    key = reader_key(did)
    async with running(sim, tmp_path) as it:
        keeper, catalog, repositories = it.runtime.readers.kept, it.runtime.catalog, it.runtime.readers.repositories
        await it.posts(reader, limit=30)
        await keeper.flush()
        await until(lambda: not repositories._flights)
        assert repositories.fetched(did) is not None
        await it.heard(sim.set_account(reader, "deleted"))
        await until(lambda: catalog.services.readers.get(key) is None)
        await until(lambda: repositories.fetched(did) is None)
    async with await Viewers.open(tmp_path / "data") as viewers:
        assert await viewers.reader(key) is None
        assert await viewers.fetched(key) is None
        assert await viewers.account(did) is None


async def test_why_a_post_is_in_the_list(it: Inside, sim: Simnet, readers: list[int]) -> None:
    """The reason is of the ranking that made the list, and asking for it changes nothing."""
    reader = sim.people.did(readers[11])
    shown = await it.posts(readers[11], limit=30)
    told = [await it.runtime.catalog.why(reader, post) for post in shown]
    ranked = [one for one in told if "absent" not in one]
    assert len(ranked) > 20
    for one in ranked:
        terms, seeds = one["terms"], one["seeds"]
        assert isinstance(terms, dict) and isinstance(seeds, list)
        assert math.isclose(math.prod(terms.values()), float(str(one["score"])), rel_tol=1e-9)
        assert all(parse_at_uri(seed["post"]) for seed in seeds)
    assert any(one["seeds"] for one in ranked)
    liked = (await it.runtime.catalog.why(reader, "at://did:plc:nobody/app.bsky.feed.post/3k2la3b4c5d2e"))["absent"]
    assert liked == "the post is not known here"
    assert "not a feed" in str((await it.runtime.catalog.why(reader, shown[0], feed="popular"))["absent"])
