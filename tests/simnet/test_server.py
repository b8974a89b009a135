"""The whole network in one loop: every server asked with raw clients, and all of them telling the same story."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
import websockets

from feedgen.core.ids import LIKE_NSID, POST_NSID, parse_at_uri
from feedgen.simnet.jetstream import HostOptions
from feedgen.simnet.records import SimEvent
from feedgen.simnet.server import Simnet
from tests.simnet.wiretap import NOW_US, V2, read

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTS = (
    HostOptions("v2", lookback_s=float("inf"), segment_s=0),
    HostOptions("v2", lookback_s=float("inf"), segment_s=0, first_seq=5_000_001),
    HostOptions("legacy", lookback_s=float("inf")),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(people=120, history_days=0.5, now_us=NOW_US, hosts=HOSTS, odd_share=0.01) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


def posts(sim: Simnet, n: int) -> list[str]:
    """At-uris of posts that are still there."""
    return sim.world.post_uris(sim.world.posts_since(0)[-n:])


async def test_the_past_is_there_when_it_starts(sim: Simnet) -> None:
    assert sim.history.complete.is_set()
    assert sim.history.tip > 100
    assert sim.history.last_us <= NOW_US


async def test_all_hosts_tell_the_same(sim: Simnet) -> None:
    n = sim.history.tip
    v2, other, legacy = sim.urls.jetstream
    by_seq = await read(f"{v2}{V2}?cursor=0&kinds=commit&kinds=account&kinds=identity", 100)
    shifted = await read(f"{other}{V2}?cursor=0&kinds=commit&kinds=account&kinds=identity", 100)
    old = await read(f"{legacy}/subscribe?cursor=0", 100)
    everything = await read(f"{v2}{V2}?cursor=1", n)
    assert [e["payload"]["seq"] for e in everything] == list(range(1, n + 1))
    assert [e["payload"]["seq"] + 5_000_000 for e in by_seq] == [e["payload"]["seq"] for e in shifted]
    assert [(e["payload"]["did"], e["payload"].get("rkey")) for e in by_seq] == [
        (e["did"], e.get("commit", {}).get("rkey")) for e in old
    ]


async def test_the_same_options_make_the_same_network(sim: Simnet) -> None:
    async with Simnet.start(people=120, history_days=0.5, now_us=NOW_US, hosts=HOSTS, odd_share=0.01) as again:
        n = min(sim.history.tip, again.history.tip)
        assert n > 100
        assert [again.history.event(i) for i in range(n)] == [sim.history.event(i) for i in range(n)]


async def test_a_manual_clock(sim: Simnet) -> None:
    url = sim.urls.jetstream[0]
    async with websockets.connect(f"{url}{V2}", max_queue=None) as ws:
        while not sim.hosts[0].readers:
            await asyncio.sleep(0.01)
        assert sim.advance(3600) > 0
        event = json.loads(await asyncio.wait_for(ws.recv(), 5))
    assert event["payload"]["seq"] > 0
    assert sim.history.last_us <= sim.clock.now_us()


async def test_somebody_likes_something_now(sim: Simnet, http: httpx.AsyncClient) -> None:
    [post] = posts(sim, 1)
    before = len(sim.world.records(sim.people.did(3), LIKE_NSID))
    async with websockets.connect(f"{sim.urls.jetstream[2]}/subscribe") as ws:
        while not sim.hosts[2].readers:
            await asyncio.sleep(0.01)
        told = (await http.post(f"{sim.urls.control}/_ctl/like", json={"person": 3, "post": post})).json()
        event = json.loads(await asyncio.wait_for(ws.recv(), 5))
        sim.unlike(SimEvent(0, 0, event["did"], "commit", rkey=event["commit"]["rkey"]))
        gone = json.loads(await asyncio.wait_for(ws.recv(), 5))
    assert event["did"] == sim.people.did(3)
    assert event["commit"]["record"]["subject"]["uri"] == post
    assert told["uri"].endswith(event["commit"]["rkey"])
    assert (gone["commit"]["operation"], gone["commit"]["rkey"]) == ("delete", event["commit"]["rkey"])
    assert "record" not in gone["commit"]
    assert len(sim.world.records(sim.people.did(3), LIKE_NSID)) == before


async def test_an_event_of_ones_own(sim: Simnet, http: httpx.AsyncClient) -> None:
    url = f"{sim.urls.control}/_ctl/event"
    record = {"$type": POST_NSID, "text": "hello", "createdAt": "2026-09-01T00:00:00.000Z"}
    asked = {"did": sim.people.did(4), "collection": POST_NSID, "record": record}
    told = (await http.post(url, json=asked)).json()
    [event] = await read(f"{sim.urls.jetstream[0]}{V2}?cursor={told['seq']}", 1)
    assert event["payload"]["record"] == record
    assert parse_at_uri(told["uri"]) is not None
    assert (await http.post(url, json={"did": sim.people.did(4), "kind": "account"})).status_code == 400
    assert (await http.post(url, content=b"{")).status_code == 400


async def test_control(sim: Simnet, http: httpx.AsyncClient) -> None:
    status = (await http.get(f"{sim.urls.control}/_ctl/")).json()
    assert status["addresses"]["plc"] == sim.urls.plc
    assert (status["people"], status["past"], status["mode"]) == (120, 1.0, "world")
    readers = (await http.get(f"{sim.urls.control}/_ctl/readers?k=3")).json()
    assert len({r["person"] for r in readers}) == 3
    assert all(r["likes"] > 0 and r["interests"] for r in readers)
    me = (await http.get(f"{sim.urls.control}/_ctl/person", params={"person": readers[0]["handle"]})).json()
    assert me == readers[0]
    chances = (
        await http.post(
            f"{sim.urls.control}/_ctl/chances", json={"person": me["person"], "posts": [*posts(sim, 3), "at://x"]}
        )
    ).json()["chances"]
    assert all(0 < c < 1 for c in chances[:3])
    assert chances[3] is None


async def test_a_rotated_key_is_announced(sim: Simnet, http: httpx.AsyncClient) -> None:
    did, url = sim.people.did(8), sim.urls.plc
    before = (await http.get(f"{url}/{did}")).json()
    assert (await http.post(f"{sim.urls.control}/_ctl/rotate?person={did}")).json() == {"person": 8}
    assert (await http.get(f"{url}/{did}")).json()["verificationMethod"] != before["verificationMethod"]
    [event] = await read(f"{sim.urls.jetstream[0]}{V2}?cursor={sim.history.next_seq - 1}", 1)
    assert event["payload"]["identity"]["did"] == did


async def test_an_account_goes(sim: Simnet) -> None:
    told = sim.set_account(9, "deleted")
    [event] = await read(f"{sim.urls.jetstream[0]}{V2}?cursor={told.seq}", 1)
    assert event["payload"]["account"].items() >= {"active": False, "status": "deleted", "did": told.did}.items()


@pytest.mark.parametrize(
    "path",
    ["person?person=999", "person?person=nobody.simnet.test", "token?person=1", "token?person=-1&aud=x", "readers?k=0"],
)
async def test_control_refuses_nonsense(sim: Simnet, http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(f"{sim.urls.control}/_ctl/{path}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "InvalidRequest"


async def test_repositories(sim: Simnet, http: httpx.AsyncClient) -> None:
    person = sim.readers(1)[0]
    did, url = sim.people.did(person), f"{sim.urls.pds}/xrpc/com.atproto.repo.listRecords"
    query: dict[str, Any] = {"repo": did, "collection": LIKE_NSID, "limit": 7}
    listed, cursor = [], ""
    while True:
        page = (await http.get(url, params=query | ({"cursor": cursor} if cursor else {}))).json()
        listed += page["records"]
        assert len(page["records"]) <= 7
        if not (cursor := page.get("cursor", "")):
            break
    rkeys = [record["uri"].rpartition("/")[2] for record in listed]
    assert rkeys == sorted(rkeys, reverse=True)
    assert len(rkeys) == len(sim.world.records(did, LIKE_NSID)) > 7
    forward = (await http.get(url, params=query | {"reverse": "true"})).json()
    assert forward["records"][0] == listed[-1]
    by_handle = (await http.get(url, params=query | {"repo": sim.people.handle(person)})).json()
    assert by_handle["records"][0] == listed[0]
    one = {"repo": did, "collection": LIKE_NSID, "rkey": rkeys[0]}
    get = f"{sim.urls.pds}/xrpc/com.atproto.repo.getRecord"
    assert (await http.get(get, params=one)).json() == listed[0]
    missing = await http.get(get, params=one | {"rkey": "3jzfcijpj2z2a"})
    assert (missing.status_code, missing.json()["error"]) == (400, "RecordNotFound")


@pytest.mark.parametrize(
    "query",
    [
        {"collection": LIKE_NSID},
        {"repo": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "collection": LIKE_NSID},
        {"repo": "nobody.simnet.test", "collection": LIKE_NSID},
        {"repo": "0", "collection": "like"},
        {"repo": "0", "collection": LIKE_NSID, "limit": 101},
        {"repo": "0", "collection": LIKE_NSID, "limit": "x"},
    ],
)
async def test_repositories_refuse(sim: Simnet, http: httpx.AsyncClient, query: dict[str, Any]) -> None:
    if query.get("repo") == "0":
        query = query | {"repo": sim.people.did(0)}
    answer = await http.get(f"{sim.urls.pds}/xrpc/com.atproto.repo.listRecords", params=query)
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")


async def test_handles(sim: Simnet, http: httpx.AsyncClient) -> None:
    for base in (sim.urls.pds, sim.urls.appview):
        url = f"{base}/xrpc/com.atproto.identity.resolveHandle"
        assert (await http.get(url, params={"handle": sim.people.handle(5)})).json() == {"did": sim.people.did(5)}
        assert (await http.get(url, params={"handle": "nobody.simnet.test"})).status_code == 400
    hosted = await http.get(f"{sim.urls.web}/.well-known/atproto-did", headers={"host": sim.people.handle(5)})
    assert hosted.text == sim.people.did(5)


async def test_posts_as_views(sim: Simnet, http: httpx.AsyncClient) -> None:
    uris = posts(sim, 25)
    url = f"{sim.urls.appview}/xrpc/app.bsky.feed.getPosts"
    views = (await http.get(url, params={"uris": [*uris[:24], "at://did:plc:x/app.bsky.feed.post/x"]})).json()["posts"]
    assert [view["uri"] for view in views] == uris[:24]
    assert (await http.get(url, params={"uris": [*uris, uris[0]]})).status_code == 400
    assert (await http.get(url)).status_code == 400


async def test_profiles_as_views(sim: Simnet, http: httpx.AsyncClient) -> None:
    url = f"{sim.urls.appview}/xrpc/app.bsky.actor.getProfile"
    one = (await http.get(url, params={"actor": sim.people.did(2)})).json()
    same = (await http.get(url, params={"actor": sim.people.handle(2)})).json()
    assert one == same
    many = await http.get(f"{url}s", params={"actors": [sim.people.did(2), "nobody.test", sim.people.did(6)]})
    assert [view["did"] for view in many.json()["profiles"]] == [sim.people.did(2), sim.people.did(6)]
    assert (await http.get(url, params={"actor": "nobody.simnet.test"})).status_code == 400
    if "avatar" in one:
        assert (await http.get(one["avatar"])).headers["content-type"] == "image/svg+xml"


async def test_views_are_what_the_lexicons_say(sim: Simnet, http: httpx.AsyncClient) -> None:
    """The SDK's models are made from the published lexicons."""
    from atproto import models  # type: ignore[import-untyped]

    many = posts(sim, 200)
    seen: set[str] = set()
    for at in range(0, 200, 25):
        answer = await http.get(f"{sim.urls.appview}/xrpc/app.bsky.feed.getPosts", params={"uris": many[at : at + 25]})
        for view in models.AppBskyFeedGetPosts.Response.model_validate(answer.json()).posts:
            seen.add(view.embed.py_type if view.embed else "")
    assert len(seen) >= 4  # none, images, video, external, record
    actors = [sim.people.did(i) for i in range(25)]
    profiles = await http.get(f"{sim.urls.appview}/xrpc/app.bsky.actor.getProfiles", params={"actors": actors})
    assert models.AppBskyActorGetProfiles.Response.model_validate(profiles.json()).profiles
    query = {"repo": sim.people.did(sim.readers(1)[0]), "collection": LIKE_NSID}
    listed = await http.get(f"{sim.urls.pds}/xrpc/com.atproto.repo.listRecords", params=query)
    assert models.ComAtprotoRepoListRecords.Response.model_validate(listed.json()).records


async def test_unknown_methods(sim: Simnet, http: httpx.AsyncClient) -> None:
    assert (await http.get(f"{sim.urls.appview}/xrpc/app.bsky.feed.getTimeline")).status_code == 501
    assert (await http.get(f"{sim.urls.pds}/nothing")).status_code == 404


async def test_a_repository_that_is_replaced() -> None:
    """v2 tells a sync, and all records once more at its time; the old wire tells nothing of it."""
    async with Simnet.start(people=30, history_days=0.2, now_us=NOW_US) as sim:
        [person] = sim.readers(1)
        did = sim.people.did(person)
        kept = [record.rkey for record in sim.world.records(did, LIKE_NSID)]
        v2, legacy = sim.urls.jetstream[0] + V2, sim.urls.jetstream[2] + "/subscribe"
        async with websockets.connect(v2) as new, websockets.connect(legacy) as old:
            await asyncio.sleep(0.1)
            told = sim.resync(person, {kept[0]})
            sim.like(person, sim.world.post_uris(sim.world.posts_since(0)[:1])[0])
            came = [json.loads(await asyncio.wait_for(new.recv(), 5))["payload"] for _ in range(len(told) + 1)]
            [last] = [json.loads(await asyncio.wait_for(old.recv(), 5))]
    assert came[0]["$type"].endswith("#sync") and came[0]["did"] == did
    assert {frame["time"] for frame in came[:-1]} == {came[0]["time"]}
    assert [frame["rkey"] for frame in came[1:-1] if frame["collection"] == LIKE_NSID] == kept[1:]
    assert {frame["operation"] for frame in came[1:]} == {"create"}
    assert came[-1]["rkey"] == last["commit"]["rkey"]
