"""The whole way: an event of the made-up network, through ingest, joined with what belongs to it, to a consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
import websockets

from feedgen.core.ids import POST_NSID, PROFILE_NSID, VISIBILITY_NSID
from feedgen.core.settings import Stream
from feedgen.simnet.records import Record, SimEvent
from feedgen.simnet.server import Simnet
from feedgen.stream.service import StreamService
from tests.inside import Inside, running, until
from tests.stream.listening import address, anybody, key_of, listening, mention, ref, say, uri_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK = {"uri": "https://a.example/", "title": "A", "description": "about"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(people=60, history_days=0.5, per_person_day=60.0, live_rate=1.0, odd_share=0.0) as sim:
        yield sim


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def it(sim: Simnet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    folder: Path = tmp_path_factory.mktemp("stream")
    async with running(sim, folder, stream=Stream(bind="127.0.0.1:0", patience_ms=5_000)) as inside:
        yield inside


@pytest_asyncio.fixture(loop_scope="module")
async def service(it: Inside, sim: Simnet) -> StreamService:
    """With nothing in its caches, and an AppView that does what it should."""
    service = it.runtime.stream
    assert service is not None
    sim.faults.clear()
    await service.asker.give_up()
    for table in (service.known.profiles, service.known.posts):
        table.entries.clear()
    service.asker.forgive()
    sim.appview.asked.clear()
    return service


def picture(cid: str) -> dict[str, Any]:
    return {"alt": "a cat", "image": {"$type": "blob", "mimeType": "image/jpeg", "ref": {"$link": cid}, "size": 9}}


def conversation(sim: Simnet) -> tuple[SimEvent, SimEvent, SimEvent, SimEvent]:
    """A root, a parent, a quoted post, and the post that refers to all of them and mentions somebody."""
    root = say(sim, anybody(sim)[1], "the root")
    parent = say(sim, anybody(sim)[2], "the parent", reply={"root": ref(root), "parent": ref(root)})
    quoted = say(sim, anybody(sim)[3], "the quoted")
    media = {"$type": "app.bsky.embed.external", "external": LINK}
    embed = {"$type": "app.bsky.embed.recordWithMedia", "record": {"record": ref(quoted)}, "media": media}
    facets = [mention(sim.people.did(anybody(sim)[5]))]
    reply = {"root": ref(root), "parent": ref(parent)}
    return root, parent, quoted, say(sim, anybody(sim)[4], "hello", reply=reply, embed=embed, facets=facets)


async def test_a_post_comes_with_all_that_belongs_to_it(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it) as us:
        root, parent, quoted, said = conversation(sim)
        got = await us.of(said)
    assert got["event"]["commit"]["record"]["text"] == "hello"
    assert got["author"]["handle"] == sim.people.handle(anybody(sim)[4])
    assert got["parent"]["record"]["text"] == "the parent"
    assert got["parent"]["author"]["handle"] == sim.people.handle(anybody(sim)[2])
    assert (got["root"]["uri"], got["parent"]["uri"]) == (uri_of(root), uri_of(parent))
    assert got["quoted"]["record"]["text"] == "the quoted"
    assert got["quoted"]["cid"] == quoted.cid
    assert got["mentions"][sim.people.did(anybody(sim)[5])]["handle"] == sim.people.handle(anybody(sim)[5])
    assert got["media"]["external"] == LINK
    assert "missing" not in got
    # Records that passed by are not asked for; five people are, in one call or two.
    assert all(key.startswith("did:") for keys in sim.appview.asked for key in keys)


def posters(sim: Simnet) -> list[int]:
    """People who posted before anybody listened, and are nobody else's business in these tests."""
    written = ((n, sim.world.records(sim.people.did(n), POST_NSID)) for n in anybody(sim)[26:])
    return [n for n, posts in written if posts and b"labels" not in posts[-1].value]


def old_post(sim: Simnet, person: int) -> tuple[Record, dict[str, str]]:
    """A post from before anybody listened, and a reference to it."""
    post = sim.world.records(sim.people.did(person), POST_NSID)[-1]
    return post, {"uri": post.uri, "cid": post.cid}


async def test_a_parent_from_before_is_asked_for(it: Inside, sim: Simnet, service: StreamService) -> None:
    person = posters(sim)[4]
    parent, there = old_post(sim, person)
    async with listening(it) as us:
        got = await us.of(say(sim, anybody(sim)[2], reply={"root": there, "parent": there}))
    assert got["parent"]["record"] == got["root"]["record"] == msgspec.json.decode(parent.value)
    assert got["parent"]["author"]["handle"] == sim.people.handle(person)
    assert got["parent"]["known_us"] > 0
    assert sum(parent.uri in keys for keys in sim.appview.asked) == 1


async def test_galleries_videos_and_quotes_are_found(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it, media="image") as us:
        say(sim, anybody(sim)[1], "without")
        gallery = {"$type": "app.bsky.embed.gallery", "items": [picture("bafa"), picture("bafb")]}
        got = await us.of(say(sim, anybody(sim)[2], embed=gallery))
    thumbs = [image["thumb"] for image in got["media"]["images"]]
    base = f"{sim.urls.appview}/img/feed_thumbnail/plain/{sim.people.did(anybody(sim)[2])}"
    assert thumbs == [f"{base}/bafa@jpeg", f"{base}/bafb@jpeg"]
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(thumbs[0])).status_code == 200


async def test_likes_come_with_their_post(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it, collections="like,post") as us:
        post, _ = old_post(sim, posters(sim)[4])
        got = await us.of(sim.like(anybody(sim)[7], post.uri))
    assert got["event"]["commit"]["collection"] == "app.bsky.feed.like"
    assert got["subject"]["record"] == msgspec.json.decode(post.value)
    assert got["subject"]["ratings"] >= 0
    assert got["author"]["handle"] == sim.people.handle(anybody(sim)[7])


async def test_graze(it: Inside, sim: Simnet, service: StreamService) -> None:
    """Field by field, as docs/stream.md has it."""
    async with listening(it, format="graze") as us:
        root, parent, quoted, said = conversation(sim)
        [got] = await us.of(said)
    assert list(got) == ["at_uri", "did", "time_us", "message", "hydrated_metadata"]
    assert (got["at_uri"], got["did"], got["time_us"]) == (uri_of(said), said.did, said.time_us)
    message = got["message"]
    assert list(message) == ["did", "time_us", "kind", "commit"]
    assert list(message["commit"]) == ["rev", "operation", "collection", "rkey", "record", "cid"]
    joined = got["hydrated_metadata"]
    assert list(joined) == ["user", "mentions", "parent_post", "reply_post", "quote_post"]
    assert {"did", "handle", "display_name", "followers_count", "follows_count", "posts_count"} <= set(joined["user"])
    assert joined["mentions"][sim.people.did(anybody(sim)[5])]["handle"] == sim.people.handle(anybody(sim)[5])
    for name, event, text in (
        ("parent_post", parent, "the parent"), ("reply_post", root, "the root"), ("quote_post", quoted, "the quoted"),
    ):  # fmt: skip
        assert joined[name]["uri"] == uri_of(event)
        assert joined[name]["record"]["text"] == text
        assert joined[name]["record"]["py_type"] == POST_NSID
        assert joined[name]["author"]["handle"]


async def test_graze_says_null_for_what_is_not_there(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it, format="graze") as us:
        [got] = await us.of(say(sim, anybody(sim)[1], "alone"))
    joined = got["hydrated_metadata"]
    assert joined["user"]["handle"] == sim.people.handle(anybody(sim)[1])
    assert joined["mentions"] == {}
    assert joined["parent_post"] is joined["reply_post"] is joined["quote_post"] is None


async def test_rs(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it, format="rs") as us:
        root, parent, quoted, said = conversation(sim)
        got = await us.of(said)
        bare = await us.of(say(sim, anybody(sim)[6], "alone"))
    assert list(got) == ["message", "hydrated_metadata", "processed_at", "metrics"]
    joined = got["hydrated_metadata"]
    assert joined["author_profile"]["handle"] == sim.people.handle(anybody(sim)[4])
    assert [one["did"] for one in joined["mentioned_profiles"]] == [sim.people.did(anybody(sim)[5])]
    posts = {one["uri"]: one for one in joined["referenced_posts"]}
    assert {uri: one["text"] for uri, one in posts.items()} == {
        uri_of(root): "the root", uri_of(parent): "the parent", uri_of(quoted): "the quoted",
    }  # fmt: skip
    assert posts[uri_of(root)]["author_did"] == root.did
    assert posts[uri_of(root)]["author_handle"] == sim.people.handle(anybody(sim)[1])
    assert joined["mentions"] == [
        {
            "did": sim.people.did(anybody(sim)[5]), "start_byte": 0, "end_byte": 5,
            "handle": sim.people.handle(anybody(sim)[5]),
            "display_name": joined["mentioned_profiles"][0]["displayName"],
        }
    ]  # fmt: skip
    assert joined["detected_language"] == "en"
    assert set(got["metrics"]) == {
        "hydration_time_ms", "api_calls_count", "cache_hit_rate", "cache_hits", "cache_misses",
    }  # fmt: skip
    # Empty ones are left out.
    assert set(bare["hydrated_metadata"]) == {"author_profile", "detected_language"}


async def test_raw_is_what_came(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it, format="raw") as us:
        said = say(sim, anybody(sim)[1], "raw")
        got = await us.of(said)
    payload = got["payload"]
    assert (payload["seq"], payload["record"]["text"]) == (said.seq, "raw")
    assert sim.appview.asked == []


async def test_nothing_is_asked_while_nobody_listens(it: Inside, sim: Simnet, service: StreamService) -> None:
    await until(lambda: not service.hub.everybody())
    before = service.hub.number
    await it.heard(say(sim, anybody(sim)[1], "unheard"))
    assert service.hub.number == before
    assert sim.appview.asked == []


async def test_deletions_are_told_and_the_deleted_is_not_joined(
    it: Inside, sim: Simnet, service: StreamService
) -> None:
    async with listening(it) as us:
        post = say(sim, anybody(sim)[1], "gone soon")
        await us.of(post)
        sim.emit(SimEvent(0, 0, post.did, "commit", operation="delete", collection=POST_NSID, rkey=post.rkey))
        told = await us.until(lambda message: message["event"]["commit"]["operation"] == "delete")
        assert key_of(told) == (post.did, post.rkey)
        got = await us.of(say(sim, anybody(sim)[2], reply={"root": ref(post), "parent": ref(post)}))
    assert got["parent"] is got["root"] is None
    assert got["missing"] == ["parent", "root"]


def label(sim: Simnet, person: int, *values: str) -> SimEvent:
    """A profile with these self-labels."""
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": value} for value in values]}
    record = {"$type": PROFILE_NSID, "displayName": "x", "labels": labels}
    event = SimEvent(0, 0, sim.people.did(person), "commit", operation="update", collection=PROFILE_NSID, rkey="self")
    event.record = msgspec.json.encode(record)
    return sim.emit(event)


def opt_out(sim: Simnet, person: int) -> SimEvent:
    record = {"$type": VISIBILITY_NSID, "hideFromAlgorithmicRecommendations": True}
    event = SimEvent(
        0, 0, sim.people.did(person), "commit", operation="create", collection=VISIBILITY_NSID, rkey="self"
    )
    event.record = msgspec.json.encode(record)
    return sim.emit(event)


def leave(sim: Simnet, person: int) -> SimEvent:
    did = sim.people.did(person)
    detail = {"active": False, "did": did, "seq": 1, "status": "deactivated", "time": "2026-11-20T12:00:00Z"}
    return sim.emit(SimEvent(0, 0, did, "account", detail=msgspec.json.encode(detail)))


@pytest.mark.parametrize(
    ("poster", "hide"),
    [
        (0, lambda sim, person: label(sim, person, "!no-unauthenticated")),
        (1, lambda sim, person: label(sim, person, "porn")),
        (2, opt_out),
        (3, leave),
    ],
)
async def test_who_may_not_be_shown_is_neither_passed_on_nor_joined(
    it: Inside, sim: Simnet, service: StreamService, poster: int, hide: Any
) -> None:
    person = posters(sim)[poster]
    (_, before), did = old_post(sim, person), sim.people.did(person)
    async with listening(it) as us:
        quote = {"$type": "app.bsky.embed.record", "record": before}
        refers = {"reply": {"root": before, "parent": before}, "embed": quote, "facets": [mention(did)]}
        shown = await us.of(say(sim, anybody(sim)[24], **refers))
        assert shown["parent"]["author"]["did"] == did
        await it.heard(hide(sim, person))
        await asyncio.sleep(0.1)  # the view that the stream looks at is so old
        hidden = say(sim, person, "hidden")
        said = say(sim, anybody(sim)[25], **refers)
        got = await us.until(lambda message: key_of(message) in {(hidden.did, hidden.rkey), (said.did, said.rkey)})
    assert key_of(got) == (said.did, said.rkey)
    assert got["parent"] is got["root"] is got["quoted"] is None
    assert did not in got["mentions"]


async def test_adult_posts_are_not_passed_on(it: Inside, sim: Simnet, service: StreamService) -> None:
    async with listening(it) as us:
        labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "porn"}]}
        adult, other = say(sim, anybody(sim)[1], "adult", labels=labels), say(sim, anybody(sim)[2], "other")
        got = await us.until(lambda message: key_of(message) in {(adult.did, adult.rkey), (other.did, other.rkey)})
    assert key_of(got) == (other.did, other.rkey)


# An AppView that fails. A message waits its 300 ms at most, and no event is lost.


async def answers(it: Inside, sim: Simnet) -> list[Any]:
    """Five messages of five authors whom nobody knows, in the order in which they were said."""
    async with listening(it) as us:
        said = [say(sim, person, f"{person}") for person in anybody(sim)[20:25]]
        got: dict[Any, Any] = {}
        while not all((event.did, event.rkey) in got for event in said):
            message = await us.next()
            got[key_of(message)] = message
        return [got[event.did, event.rkey] for event in said]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "status": 500, "duration_s": 30},
        {"kind": "corrupt", "duration_s": 30},
        {"kind": "close", "duration_s": 30},
        {"kind": "slow", "delay_s": 5, "duration_s": 30},
        {"kind": "stall", "duration_s": 30},
        {"kind": "error", "status": 429, "reset_s": 20, "duration_s": 30},
    ],
    ids=["500", "broken", "hangs up", "slow", "never", "429"],
)
async def test_without_the_appview_messages_have_nulls(
    it: Inside, sim: Simnet, service: StreamService, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.faults.add(fault.pop("kind"), "appview", **fault)
    monkeypatch.setattr(service.hub.live, "patience_s", 0.3)
    got = await answers(it, sim)
    assert [message["author"] for message in got] == [None] * 5
    assert [message["missing"] for message in got] == [["author"]] * 5
    monkeypatch.undo()
    if fault.get("status") == 429:
        assert service.asker.resting
        asked = len(sim.appview.asked)
        assert [message["author"] for message in await answers(it, sim)] == [None] * 5
        assert len(sim.appview.asked) == asked  # until the time that it told
        service.asker.forgive()
        sim.faults.clear()
        assert all(message["author"] for message in await answers(it, sim))


async def test_what_an_answer_leaves_out_is_not_asked_again_at_once(
    it: Inside, sim: Simnet, service: StreamService
) -> None:
    sim.faults.add("half", "appview", duration_s=30)
    got = await answers(it, sim)
    there = [message["author"] is not None for message in got]
    assert True in there
    assert False in there
    asked = len(sim.appview.asked)
    assert [message["author"] is not None for message in await answers(it, sim)] == there
    assert len(sim.appview.asked) == asked


async def test_one_failure_is_no_outage(it: Inside, sim: Simnet, service: StreamService) -> None:
    sim.faults.add("error", "appview", count=1)
    await answers(it, sim)
    assert not service.asker.resting
    assert all(message["author"] for message in await answers(it, sim))


async def test_an_authors_messages_keep_their_order(
    it: Inside, sim: Simnet, service: StreamService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one waits for a parent that does not come; the second needs nothing that is not known."""
    sim.faults.add("slow", "appview", delay_s=5, duration_s=30)
    _, parent = old_post(sim, posters(sim)[4])
    monkeypatch.setattr(service.hub.live, "patience_s", 0.3)
    async with listening(it) as us:
        first = say(sim, anybody(sim)[2], "first", reply={"root": parent, "parent": parent})
        second = say(sim, anybody(sim)[2], "second")
        got = [await us.until(lambda message: key_of(message)[0] == first.did) for _ in range(2)]
    assert [key_of(message)[1] for message in got] == [first.rkey, second.rkey]


async def test_filters(it: Inside, sim: Simnet, service: StreamService) -> None:
    async def passes(wanted: SimEvent, *others: SimEvent, us: Any) -> None:
        keys = {(one.did, one.rkey) for one in (wanted, *others)}
        assert key_of(await us.until(lambda message: key_of(message) in keys)) == (wanted.did, wanted.rkey)

    async with listening(it, dids=sim.people.did(anybody(sim)[7])) as us:
        other = say(sim, anybody(sim)[8])
        await passes(say(sim, anybody(sim)[7]), other, us=us)
    async with listening(it, langs="de,fr") as us:
        other = say(sim, anybody(sim)[8], langs=["en"])
        await passes(say(sim, anybody(sim)[8], langs=["de-AT"]), other, us=us)
    follows = {n: sim.world.records(sim.people.did(n), "app.bsky.graph.follow") for n in range(60)}
    follower, followed = next(
        (n, person)
        for n, records in follows.items()
        for one in records
        if (person := sim.people.index(msgspec.json.decode(one.value)["subject"])) in anybody(sim)[:26]
    )
    stranger = next(n for n in anybody(sim) if n != followed)
    async with listening(it, lists=f"at://{sim.people.did(follower)}/app.bsky.graph.list/follows") as us:
        assert followed is not None
        say(sim, stranger)
        said = say(sim, followed)
        await us.of(said)
    halves = []
    for i in range(2):
        async with listening(it, shard=f"{i}/2") as us:
            said_by = [say(sim, n) for n in anybody(sim)[8:16]]
            await asyncio.sleep(0.5)
            last = [say(sim, n) for n in anybody(sim)[8:16]]
            got = set()
            while (key := key_of(await us.next()))[0] not in {e.did for e in last} or key[1] not in {
                e.rkey for e in last
            }:
                got.add(key[0])
            halves.append({one.did for one in said_by} & got)
    assert not halves[0] & halves[1]


@pytest.mark.parametrize(
    "query",
    [
        {"format": "xml"}, {"collections": "app.example.x"}, {"dids": "alice"}, {"sample": "2"}, {"sample": "nan"},
        {"shard": "4/4"}, {"cursor": "rubbish"}, {"feed": "for-you"}, {"nonsense": "1"}, {"lists": "at://x/y/z"},
        {"format": "graze", "collections": "like"}, {"media": "smell"},
        {"feed": "popular", "cursor": "1760000000000000"},
    ],
)  # fmt: skip
async def test_a_bad_query_is_refused_with_a_reason(it: Inside, query: dict[str, str]) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(address(it, **query)):
            pass
    response = refused.value.response
    assert response.status_code == 400
    assert response.body is not None
    assert len(msgspec.json.decode(response.body)["message"]) > 10


async def test_health_and_stats(it: Inside, sim: Simnet, service: StreamService) -> None:
    base = f"http://{service.address}"
    async with listening(it, format="raw"), httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{base}/stream/health")).json()["ok"] is True
        stats = (await client.get(f"{base}/stream/stats")).json()
        assert [one["format"] for one in stats["consumers"]] == ["raw"]
        assert (await client.get(f"{base}/elsewhere")).status_code == 404
        assert (await client.get(f"{base}/stream")).status_code == 426
