"""Bluesky's own PDS, PLC and AppView ask our running process, for real accounts with real posts, likes and tokens.

What our feed said is taken from the front, what the reader got from the AppView: both are looked at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from feedgen.rank.listing import ListRules
from tests.appview.bluesky import Account, now, until
from tests.appview.conftest import started
from tests.appview.front import Front
from tests.appview.town import Town, faults, feed_uri, publish
from tests.serve import lexicons

AUTHOR_MAX = ListRules().author_max

pytestmark = [pytest.mark.appview, pytest.mark.needs("npm", "g++", "make", "setpriv")]


def author(uri: str) -> str:
    return uri.split("/")[2]


def claims(authorization: str) -> dict[str, object]:
    part = authorization.split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def test_a_reader_pages_to_the_end_likes_a_post_and_it_is_gone(town: Town) -> None:
    reader = town.reader("pager")
    [own] = reader.write("My own post, which is not for me")
    town.settle()
    before = len(town.front.exchanges)
    pages = town.all_pages(reader, limit=10)
    got = [uri for page in pages for uri in page]
    assert len(pages) > 4 and len(got) == len(set(got))
    assert len({post.uri for post in town.posts} & set(got)) >= 50  # of 60: see the next test
    assert not {own.uri, *(seed.uri for seed in town.seeds)} & set(got)
    # The AppView left nothing out, and asked as the reader, who has likes and a personal list.
    said = town.front.exchanges[before:]
    assert [item["post"] for exchange in said for item in exchange.json["feed"]] == got
    assert said[0].json["feed"][0]["feedContext"].startswith("likes")
    token = claims(said[0].asked["authorization"])
    assert (token["iss"], token["lxm"]) == (reader.did, "app.bsky.feed.getFeedSkeleton")
    assert str(token["aud"]).partition("#")[0] == town.network.feed_did

    liked = next(post for post in town.posts if post.uri == got[0])
    [like] = reader.like(liked)
    town.settle()
    assert liked.uri not in town.page(reader, limit=100)
    assert liked.uri not in town.all_posts(reader)
    reader.delete(like)
    town.settle()
    assert liked.uri in town.all_posts(reader)


def test_what_was_seen_sinks(town: Town) -> None:
    for name in ("one", "two", "three"):
        town.liked_author(name, posts=4)
    reader = town.reader("seer")
    town.settle()
    first = town.answer(reader, limit=10)["feed"]
    seen = {item["post"]["uri"] for item in first}
    assert len(seen) == 10 and all(item["reqId"] for item in first)
    town.tell(reader, "interactionSeen", first)
    after = town.page(reader, limit=100)
    unseen = [uri for uri in after if uri not in seen]
    assert unseen
    # A post that was seen comes before one that was not only where all that is left of those would follow a post by
    # their own author: one author's posts are never side by side.
    for i, uri in enumerate(after):
        left = {author(later) for later in after[i + 1 :] if later not in seen}
        assert uri not in seen or left <= ({author(after[i - 1])} if i else set()), (i, after)
    # Sunk, not dropped: but for authors who have as many as a list may have, and at the end, where only one is left.
    for gone in seen - set(after):
        of_author = [uri for uri in after if author(uri) == author(gone)]
        assert len(after) == 100 or len(of_author) == AUTHOR_MAX or author(after[-1]) == author(gone), after


def test_show_more_brings_the_authors_other_posts_up(town: Town) -> None:
    wanted = town.liked_author("wanted", posts=4, likers=2)
    for name in ("rival", "another"):
        town.liked_author(name, posts=4, likers=3)
    reader = town.reader("curious")
    town.settle()
    items = {item["post"]["uri"]: item for item in town.answer(reader, limit=100)["feed"]}
    before = list(items)
    town.tell(reader, "requestMore", [items[wanted[0].uri]])
    after = town.page(reader, limit=100)
    others = [post.uri for post in wanted[1:] if post.uri in before]
    assert others and min(map(after.index, others)) < min(map(before.index, others))
    assert sum(map(after.index, others)) < sum(map(before.index, others))


def test_a_repost_speaks_for_a_post_as_a_like_does(town: Town) -> None:
    [post] = town.liked_author("shared", likers=0)
    for liker in town.likers:
        liker.repost(post)
    reader = town.reader("sharer")
    town.settle()
    assert post.uri in town.all_posts(reader)
    items = {item["post"]["uri"]: item for item in town.answer(reader, limit=100)["feed"]}
    [repost] = reader.repost(post)
    town.tell(reader, "interactionRepost", [items[post.uri]])
    town.settle()
    assert post.uri not in town.all_posts(reader)
    reader.delete(repost)
    town.settle()
    assert post.uri in town.all_posts(reader)


@pytest.mark.parametrize("val", ["porn", "!hide"])
@pytest.mark.parametrize("whole", [False, True], ids=["post", "account"])
def test_what_the_labeler_says_counts_until_it_is_taken_back(town: Town, val: str, whole: bool) -> None:
    posts = town.liked_author("labelled", posts=2)
    reader = town.reader("careful")
    town.settle()
    assert {post.uri for post in posts} <= set(town.all_posts(reader))
    subject = posts[0].author if whole else posts[0]
    hidden = posts if whole else posts[:1]
    town.network.label(subject, val)
    until(lambda: not {post.uri for post in hidden} & set(town.ours_now(reader)), "the label to count")
    assert whole or posts[1].uri in town.ours()
    town.network.label(subject, val, neg=True)
    until(lambda: {post.uri for post in posts} <= set(town.ours_now(reader)), "the label to be taken back")


def test_show_less_hides_the_post_and_then_the_author(town: Town) -> None:
    posts = town.liked_author("loud", posts=4)
    reader = town.reader("choosy")
    town.settle()
    items = {item["post"]["uri"]: item for item in town.answer(reader, limit=100)["feed"]}
    assert {post.uri for post in posts} <= set(items)
    town.tell(reader, "requestLess", [items[posts[0].uri]])
    assert posts[0].uri not in town.all_posts(reader)
    town.tell(reader, "requestLess", [items[posts[1].uri]])
    assert not {post.uri for post in posts} & set(town.all_posts(reader))


@pytest.mark.parametrize("how", ["block", "mute"])
def test_whom_the_reader_does_not_want_is_left_out_by_the_appview(town: Town, how: str) -> None:
    [post] = town.liked_author(f"{how}ed")
    others = town.liked_author("other", posts=3)
    reader = town.reader("picky")
    town.settle()
    assert post.uri in town.all_posts(reader)
    if how == "block":
        reader.create({"$type": "app.bsky.graph.block", "subject": post.author.did, **now()})
    else:
        reader.post("app.bsky.graph.muteActor", {"actor": post.author.did})
    town.settle()
    got = until(
        lambda: (page := town.page(reader, limit=100)) and post.uri not in page and page, "the AppView to leave it out"
    )
    assert {other.uri for other in others} <= set(got)  # one post less, not a lost page


def take_down(town: Town, author: Account, applied: bool) -> None:
    subject = {"$type": "com.atproto.admin.defs#repoRef", "did": author.did}
    body = {"subject": subject, "takedown": {"applied": applied, "ref": "test"}}
    town.network.admin("com.atproto.admin.updateSubjectStatus", body)


def deactivate(town: Town, author: Account, applied: bool) -> None:
    if applied:
        author.post("com.atproto.server.deactivateAccount", {})
    else:
        author.post("com.atproto.server.activateAccount", None)


@pytest.mark.parametrize("change", [take_down, deactivate])
def test_an_author_who_is_away_is_not_shown_and_may_come_back(
    town: Town, change: Callable[[Town, Account, bool], None]
) -> None:
    [post] = town.liked_author("away")
    reader = town.reader("waiting")
    town.settle()
    assert post.uri in town.all_posts(reader)
    change(town, post.author, True)
    town.settle()
    assert post.uri not in town.page(reader, limit=100) and post.uri not in town.ours()
    change(town, post.author, False)
    town.settle()
    assert post.uri in town.all_posts(reader)


def test_a_deleted_account_and_a_deleted_post_are_gone(town: Town) -> None:
    [leaving] = town.liked_author("leaving")
    kept, deleted = town.liked_author("staying", posts=2)
    reader = town.reader("keen")
    town.settle()
    assert {leaving.uri, kept.uri, deleted.uri} <= set(town.all_posts(reader))
    deleted.author.delete(deleted.uri)
    town.network.admin("com.atproto.admin.deleteAccount", {"did": leaving.author.did})
    town.settle()
    assert not {leaving.uri, deleted.uri} & set(town.page(reader, limit=100))
    assert not {leaving.uri, deleted.uri} & set(town.ours()) and kept.uri in town.ours()


def test_a_like_that_is_withdrawn_leads_nowhere(town: Town) -> None:
    [post] = town.liked_author("fleeting", likers=0)
    [like] = town.likers[0].like(post)
    reader = town.reader("follower")
    town.settle()
    assert post.uri in town.all_posts(reader)
    town.likers[0].delete(like)
    town.settle()
    # What is popular, and fills up the list's end, is looked at once a minute.
    until(lambda: town.page(reader, limit=100) and post.uri not in town.ours(), "the post to go", 240)


def test_who_is_logged_out_sees_what_is_for_everybody(town: Town) -> None:
    [shy] = town.liked_author("shy")
    label = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "!no-unauthenticated"}]}
    shy.author.put("self", {"$type": "app.bsky.actor.profile", "labels": label, **now()})
    [open_post] = town.liked_author("open")
    reader = town.reader("member")
    town.settle()
    assert {shy.uri, open_post.uri} <= set(town.all_posts(reader))
    # The list for everybody is renewed once a minute.
    until(lambda: open_post.uri in town.page(None, limit=100), "the post to be popular", 240)
    assert "authorization" not in town.front.exchanges[-1].asked
    got = town.all_posts(None)
    assert shy.uri not in got and len(got) == len(set(got))


def test_a_feed_we_do_not_have(town: Town) -> None:
    publish(town.publisher, town.network.feed_did, "nothing-here")
    town.settle()
    for reader in (None, town.likers[0]):
        feed = feed_uri(town.publisher, "nothing-here")
        if reader is None:
            url = f"{town.network.appview}/xrpc/app.bsky.feed.getFeed"
            got = town.network.client.get(url, params={"feed": feed})
        else:
            got = reader.get_feed(feed)
        assert (got.status_code, got.json()["error"]) == (400, "UnknownFeed"), got.text


def test_a_service_with_a_did_web_and_keys_in_their_older_form(town: Town, tmp_path: Path) -> None:
    town.liked_author("fresh", posts=3)
    legacy = f"{town.network.plc}/legacy"
    with Front() as front:
        publisher = town.join("webpublisher")
        publish(publisher, front.did_web)
        reader = town.reader("webreader")
        with started(town.network, tmp_path, front.did_web, publisher.did, legacy) as feedgen:
            front.feed_url = feedgen.url
            town.heard(feedgen, town.network.settle())
            got = reader.get_feed(feed_uri(publisher), limit=30)
            assert got.status_code == 200, got.text
            items = got.json()["feed"]
            assert items[0]["feedContext"].startswith("likes")
            [said] = front.answers(lexicons.GET_SKELETON)
            token = claims(said.asked["authorization"])
            assert (token["iss"], str(token["aud"]).partition("#")[0]) == (reader.did, front.did_web)
            told = [{"item": items[0]["post"]["uri"], "event": "app.bsky.feed.defs#requestLess"}]
            proxy = {"atproto-proxy": f"{front.did_web}#bsky_fg"}
            reader.post(lexicons.INTERACTIONS, {"interactions": told}, **proxy)
            again = reader.get_feed(feed_uri(publisher), limit=30).json()["feed"]
            assert items[0]["post"]["uri"] not in [item["post"]["uri"] for item in again]
            assert [faults(exchange) for exchange in front.exchanges] == [[], [], []]


def test_every_answer_was_what_the_lexicons_say(town: Town) -> None:
    """The last test: of all that the AppView and the PDS asked us until now."""
    town.liked_author("final", posts=3)
    reader = town.reader("last")
    town.settle()
    town.tell(reader, "interactionSeen", town.answer(reader)["feed"])
    described = town.network.client.get(f"{town.front.url}/xrpc/{lexicons.DESCRIBE}")
    assert described.json()["did"] == town.network.feed_did
    for method in (lexicons.GET_SKELETON, lexicons.DESCRIBE, lexicons.INTERACTIONS):
        exchanges = town.front.answers(method)
        assert exchanges
        for exchange in exchanges:
            if exchange.status == 200:
                assert faults(exchange) == [], exchange
            else:
                assert (exchange.status, exchange.json["error"]) == (400, "UnknownFeed"), exchange
    agents = {exchange.asked.get("user-agent") for exchange in town.front.answers(lexicons.GET_SKELETON)}
    assert agents == {"BskyAppView"}
