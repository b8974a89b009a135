"""`feedgen why READER POST`: asks the running service why a post stands where it does in a reader's list."""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from feedgen.cli import names
from feedgen.cli.private_api import ask_private
from feedgen.core.settings import Settings

MAX_SEEDS: Final = 10
HOUR_US: Final = 3_600_000_000


class Shared(msgspec.Struct):
    post: str
    people: int


class Told(msgspec.Struct):
    """What `/why.json` answers; `absent` when the post is not in the ranking."""

    absent: str = ""
    place: int = 0
    of: int = 0
    score: float = 0.0
    terms: dict[str, float] = {}
    people: int = 0
    likes: int = 0
    age_us: int = 0
    seeds: list[Shared] = []
    learned: dict[str, float] = {}


def main(settings: Settings, reader: str, post: str, feed: str) -> int:
    query = {"reader": names.account(settings, reader), "post": names.post(settings, post), "feed": feed}
    told = ask(settings.service.private_bind, query)
    sys.stdout.write(in_words(told))
    return 0


def ask(bind: str, query: dict[str, str]) -> Told:
    return msgspec.json.decode(ask_private(bind, "/why.json", query), type=Told)


def in_words(told: Told) -> str:
    if told.absent:
        return f"Not in the ranking: {told.absent}.\n"
    lines = [
        f"Place {told.place} of the {told.of} that were ranked, before the list's own rules (unseen first ...).",
        f"{_number(told.people, 'person', 'people')} who like what the reader likes led to it. It has"
        f" {_number(told.likes, 'like or repost', 'likes and reposts')} and is {told.age_us / HOUR_US:.1f} hours old.",
        "",
    ]
    for i, (name, value) in enumerate(told.terms.items()):
        lines.append(f"  {' ' if i == 0 else 'x'} {value:<12.6g} {name}")
    lines.append(f"  = {told.score:<12.6g} the score")
    if told.learned:
        lines += ["", "What was learned from everybody's likes, by what it looks at (their product is that term):"]
        lines += [f"  x {2**doublings:<12.6g} {name}" for name, doublings in told.learned.items()]
    if told.seeds:
        lines += ["", "What these people like as the reader does:"]
        lines += [f"  {one.people:5} of them  {one.post}" for one in told.seeds[:MAX_SEEDS]]
    if len(told.seeds) > MAX_SEEDS:
        lines.append(f"        and {len(told.seeds) - MAX_SEEDS} more posts")
    return "\n".join(lines) + "\n"


def _number(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
