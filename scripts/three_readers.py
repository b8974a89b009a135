"""Writes docs/ranking.md: what three made-up readers of different tastes get, and why.

.venv/bin/python -m scripts.three_readers > docs/ranking.md

The network is made up, from a fixed seed; the lists are made by the code that serves, as for a page, and the reasons
are those that `feedgen why` tells.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np

from feedgen.cli.why import Shared, Told, in_words
from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.feeds.contract import Ask, Made
from feedgen.feeds.evaluation import Replayed
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.services import FeedServices
from feedgen.feeds.sources import parse_mix
from feedgen.rank import params
from feedgen.rank.compose import PAGE
from feedgen.rank.listing import ListRules
from feedgen.rank.paging import Cursors
from feedgen.rank.pool import RankPool
from feedgen.rank.why import Why
from feedgen.simnet import words
from feedgen.simnet.posts import VIDEO
from feedgen.simnet.world import World
from scripts.benchmarks._made_up import MadeUp

START_US = 20_400 * US_PER_DAY
POSTS = 10
SQUARES, OTHER = "\U0001f7e5\U0001f7e6\U0001f7e9\U0001f7e8\U0001f7ea\U0001f7e7", "\u2b1c"
PLAIN = ListRules(spread=1.0, author_gap=2, author_page_max=30)

HEAD = """# What readers get, and why

A list is made in four steps. The reader's likes lead to the people who liked the same posts, best before the reader
did; these lead to what they are liking now; the best of that is scored in full; and the rules of `[lists]` make a list.

```
{formula}
```

`feedgen/rank/params.py` says what each letter is, docs/settings.md how to change it; `feedgen why READER POST` reckons
one post up. Below are three readers of a made-up network of {people:,} people after {days:g} days; the ranking knows
only what everybody liked. "Because" counts the people who share likes with the reader and led to the post, and names
what they share most. `.venv/bin/python -m scripts.three_readers > docs/ranking.md` wrote this page.
"""


def page(people: int = 2000, days: float = 3.0, seed: int = 5) -> str:
    world = World(seed, people, START_US)
    for _ in world.events(START_US + round(days * US_PER_DAY) - US_PER_S):
        pass
    made_up = MadeUp(world)
    try:
        made_up.add()
        services = FeedServices(Replayed(made_up.graph), Cursors(b"0" * 32), RankPool(1))
        services.refresh(world.now_us)
        parts = [HEAD.format(formula=_formula(), people=world.people.n, days=days)]
        plain = replace(services, rules=PLAIN, mix=parse_mix(("likes", "popular")))
        for reader in _different(world):
            parts.append(asyncio.run(_reader(made_up, ForYou(services), reader)))
            parts.append(_by_place(made_up, ForYou(plain), ForYou(services), reader))
        services.pool.close()
        return "\n".join(parts)
    finally:
        made_up.close()


def _formula() -> str:
    lines = (params.__doc__ or "").splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("    "))


def _different(world: World) -> list[int]:
    """Three readers whose strongest interests and first languages differ as far as they can."""
    chosen: list[int] = []
    taken: set[int] = set()
    for reader in world.sample_readers(40):
        first = world.people.interests(reader)[0]
        if first not in taken:
            chosen.append(reader)
            taken.add(first)
    return chosen[:3]


def _made(made_up: MadeUp, feed: ForYou, reader: int) -> Made:
    world = made_up.world
    ask = Ask(world.people.dids[reader], reader, PAGE, None, tuple(world.people.languages(reader)), world.now_us)
    return feed.make(ask, feed._known(ask, feed.recipe_of(ask), again=False), cheap=False)


def topics(made_up: MadeUp, feed: ForYou, reader: int) -> list[int]:
    """What the posts of a first page are about, by place."""
    rows = [made_up.row_of[post] for post in _made(made_up, feed, reader).posts[:PAGE].tolist()]
    found: list[int] = made_up.world.post_column("topic")[rows].tolist()
    return found


def _by_place(made_up: MadeUp, plain: ForYou, feed: ForYou, reader: int) -> str:
    """A picture of the first page, a square a post, without rules for a page and with them; and the topics' shares."""
    liked = made_up.world.post_column("topic")[made_up.world.liked(reader)].tolist()
    pages = topics(made_up, plain, reader), topics(made_up, feed, reader)
    often = [topic for topic, _ in Counter(liked).most_common(len(SQUARES))]
    marks = dict(zip(often, SQUARES, strict=False))
    lines = ["\nThe first page from the top, a square a post, without the rules for a page and with them:\n"]
    for name, page in zip(("without", "with"), pages, strict=True):
        lines.append(f"* {''.join(marks.get(topic, OTHER) for topic in page)} {name}")
    lines += ["\n| topic | of the likes | of the page without | with |", "|---|---|---|---|"]
    for topic in often:
        shares = [page.count(topic) / len(page) for page in (liked, *pages)]
        lines.append(f"| {marks[topic]} {words.TOPICS[topic][0]} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    return "\n".join(lines)


async def _reader(made_up: MadeUp, feed: ForYou, reader: int) -> str:
    world, now_us = made_up.world, made_up.world.now_us
    languages = tuple(world.people.languages(reader))
    ask = Ask(world.people.dids[reader], reader, POSTS, None, languages, now_us)
    made = feed.make(ask, feed._known(ask, feed.recipe_of(ask), again=False), cheap=False)
    interests = ", ".join(words.TOPICS[topic][0] for topic in world.people.interests(reader))
    likes = made_up.graph.view().likes_of(reader, 500)[0].size
    lines = [
        f"\n## A reader of {interests}",
        f"\nReads {', '.join(languages)}; {likes} likes.\n",
        "| | post | about | likes | age | chance that this reader likes it | because |",
        "|---|---|---|---|---|---|---|",
    ]
    told = []
    for place, post in enumerate(made.posts[:POSTS].tolist(), 1):
        why = await feed.why(ask, post)
        told.append(why)
        row = made_up.row_of[post]
        chance = float(world.like_chances(reader, [row])[0])
        lines.append(f"| {place} | {_text(world, row)} | {_about(world, row)} | {_reason(made_up, why, chance)} |")
    first = told[0]
    if isinstance(first, Why):
        seeds = [Shared(_text(world, made_up.row_of[post]), people) for post, people in first.seeds[:5]]
        known = {name: value for name, value in first._asdict().items() if name in Told.__struct_fields__}
        said = Told(**{**known, "seeds": seeds})
        lines += ["\nThe score of the first one:\n", "```", in_words(said).rstrip(), "```"]
    return "\n".join(lines)


def _reason(made_up: MadeUp, why: Why | str, chance: float) -> str:
    if isinstance(why, str):
        return f"| | {chance:.0%} | popular"
    shared = _text(made_up.world, made_up.row_of[why.seeds[0][0]]) if why.seeds else "?"
    hours = why.age_us / (3600 * US_PER_S)
    return f"{why.likes} | {hours:.0f} h | {chance:.0%} | {number(why.people, 'person', 'people')} sharing {shared}"


def number(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _text(world: World, row: int) -> str:
    """The first words of a post."""
    record = msgspec.json.decode(world._writer.records(np.array([row]))[0])
    text = " ".join(str(record["text"]).split()).replace("|", "/")
    return f"\u201c{text[:44]}{'...' if len(text) > 44 else ''}\u201d"


def _about(world: World, row: int) -> str:
    topic = words.TOPICS[int(world.post_column("topic")[row])][0]
    language = words.LANGUAGES[int(world.post_column("language")[row])]
    return f"{topic}, {language}{', video' if world.post_column('media')[row] == VIDEO else ''}"


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
