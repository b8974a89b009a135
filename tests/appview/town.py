"""A small town on Bluesky: people who write, people who like, and our feed for them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.appview.bluesky import Account, Network, Post, now, until
from tests.appview.front import Exchange, Front
from tests.process import Feedgen
from tests.serve import lexicons

AUTHORS = 12
POSTS = 5  # of each; a list has no more of one author
LIKERS = 6
INTERACTION = "app.bsky.feed.defs#"


@dataclass
class Town:
    network: Network
    front: Front
    feedgen: Feedgen
    publisher: Account
    authors: list[Account]
    likers: list[Account]
    seeds: list[Post]
    posts: list[Post]
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def feed(self) -> str:
        return feed_uri(self.publisher)

    def settle(self) -> None:
        """Until the AppView and our feed know all that was said."""
        self.heard(self.feedgen, self.network.settle())

    @staticmethod
    def heard(feedgen: Feedgen, at_us: int) -> None:
        def look() -> bool:
            behind_s = feedgen.health()["jetstream"]["behind_s"]
            return behind_s is not None and time.time() - behind_s >= at_us / 1e6 - 0.15  # it is told to a tenth

        until(look, "our feed to hear of it")

    def join(self, name: str) -> Account:
        return self.network.join(f"{name}{next(self.numbers)}")

    def reader(self, name: str) -> Account:
        """Somebody new, who likes what the likers liked before them."""
        reader = self.join(name)
        reader.like(*self.seeds)
        return reader

    def liked_author(self, name: str, posts: int = 1, likers: int = LIKERS) -> list[Post]:
        """Somebody new, whose posts the likers like just now."""
        written = self.join(name).write(*(f"{name} says {i}" for i in range(posts)))
        for liker in self.likers[:likers]:
            liker.like(*written)
        return written

    # --- what a reader gets

    def answer(self, reader: Account | None, **query: Any) -> dict[str, Any]:
        if reader is None:
            url = f"{self.network.appview}/xrpc/app.bsky.feed.getFeed"
            got = self.network.client.get(url, params={"feed": self.feed, **query})
        else:
            got = reader.get_feed(self.feed, **query)
        assert got.status_code == 200, f"{got.status_code} {got.text}; we said {self.front.exchanges[-1:]}"
        page: dict[str, Any] = got.json()
        return page

    def page(self, reader: Account | None, **query: Any) -> list[str]:
        return [item["post"]["uri"] for item in self.answer(reader, **query)["feed"]]

    def all_pages(self, reader: Account | None, limit: int = 30) -> list[list[str]]:
        """To the end, as the app does it: until there is no cursor, or nothing."""
        pages: list[list[str]] = []
        query: dict[str, Any] = {"limit": limit}
        while len(pages) < 60:
            answer = self.answer(reader, **query)
            pages.append([item["post"]["uri"] for item in answer["feed"]])
            if "cursor" not in answer or not answer["feed"]:
                return pages
            query["cursor"] = answer["cursor"]
        raise AssertionError("paging does not end")

    def all_posts(self, reader: Account | None) -> list[str]:
        return [uri for page in self.all_pages(reader, limit=100) for uri in page]

    def ours(self) -> list[str]:
        """What our own last page said, before the AppView left anything out."""
        return [item["post"] for item in self.front.answers(lexicons.GET_SKELETON)[-1].json["feed"]]

    def ours_now(self, reader: Account) -> list[str]:
        """The same, asked for now."""
        self.page(reader, limit=100)
        return self.ours()

    def tell(self, reader: Account, event: str, items: Sequence[dict[str, Any]]) -> None:
        """Through the reader's PDS, which passes it on to whom the header names. Items are those of an answer."""
        told = [
            {
                "item": item["post"]["uri"],
                "event": f"{INTERACTION}{event}",
                **{name: item[name] for name in ("feedContext", "reqId") if name in item},
            }
            for item in items
        ]
        body = {"feed": self.feed, "interactions": told}
        assert lexicons.input_faults(lexicons.INTERACTIONS, body) == []
        service = f"{self.network.feed_did}#bsky_fg"
        assert reader.post(lexicons.INTERACTIONS, body, **{"atproto-proxy": service}) == {}


def feed_uri(publisher: Account, name: str = "for-you") -> str:
    return f"at://{publisher.did}/app.bsky.feed.generator/{name}"


def publish(publisher: Account, service: str, name: str = "for-you") -> None:
    record = {
        "$type": "app.bsky.feed.generator",
        "did": service,
        "displayName": name,
        "acceptsInteractions": True,
        **now(),
    }
    publisher.put(name, record)


def settled_town(network: Network) -> tuple[list[Account], list[Account], list[Post], list[Post]]:
    """(authors, likers, seeds, posts): each post is liked by half of the likers, each seed by all."""
    authors = [network.join(f"author{i}") for i in range(AUTHORS)]
    likers = [network.join(f"liker{i}") for i in range(LIKERS)]
    seeds = network.join("seed").write(*(f"Everybody likes this {i}" for i in range(3)))
    posts = [post for author in authors for post in author.write(*(f"{author.name} says {i}" for i in range(POSTS)))]
    for i, liker in enumerate(likers):
        liker.like(*seeds, *(post for j, post in enumerate(posts) if (i + j) % 2 == 0))
    return authors, likers, seeds, posts


def faults(exchange: Exchange) -> list[str]:
    return lexicons.faults(exchange.method, exchange.body, exchange.content_type)
