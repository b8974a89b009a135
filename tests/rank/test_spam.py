"""Who is found out, and who is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S, tick_of
from feedgen.graph.graph import Graph
from feedgen.ingest.events import INACTIVE, KNOWN, SPAMMY
from feedgen.rank.spam import KEPT_DAYS, Spammers, SpamRules, find_spammers
from tests.rank.world import World

DAY = 20_400
START_US = DAY * US_PER_DAY
ROBOT, PERSON, AUTHOR, OTHER = 1, 2, 500, 501
FEW = SpamRules(likes_a_day=50)


def found(world: World, d: int = 0, rules: SpamRules = FEW) -> list[int]:
    people: list[int] = find_spammers(world.view, d, rules).tolist()
    return people


def posts_of(world: World, author: int, count: int, every_s: int = 600) -> list[tuple[int, int]]:
    times = [START_US + (1 + i) * every_s * US_PER_S for i in range(count)]
    return [(world.post(author, at_us), at_us) for at_us in times]


def rate(world: World, person: int, posts: list[tuple[int, int]], after_s: float) -> None:
    world.rate(sorted((person, post, at_us + round(after_s * US_PER_S)) for post, at_us in posts))


def test_who_likes_thousands_a_day_is_found() -> None:
    world = World(DAY, 1)
    posts = posts_of(world, AUTHOR, 50)
    rate(world, PERSON, posts[:49], 3600)
    rate(world, ROBOT, posts, 3600)
    assert found(world) == [ROBOT]


@pytest.mark.parametrize(("after_s", "caught"), [(0.2, True), (3, True), (9, False), (600, False)])
def test_who_likes_an_authors_posts_within_seconds_is_found(after_s: float, caught: bool) -> None:
    world = World(DAY, 1)
    rate(world, ROBOT, posts_of(world, AUTHOR, 10), after_s)
    assert found(world) == ([ROBOT] if caught else [])


def test_a_few_lucky_moments_are_no_habit() -> None:
    world = World(DAY, 1)
    many = posts_of(world, AUTHOR, 30)
    rate(world, PERSON, many[::2], 3)  # every other one at once, as somebody who looks at them as they come,
    rate(world, PERSON, many[1::2], 900)  # and the others later
    one_each = [posts_of(world, 600 + i, 1)[0] for i in range(20)]
    rate(world, ROBOT, one_each, 3)  # of many authors
    assert found(world) == []


def test_a_post_that_nobody_has_read_yet_proves_nothing() -> None:
    """A post that is only referred to has the time of its first like."""
    world = World(DAY, 1)
    posts = [(world.post(AUTHOR, at_us, flags=0), at_us) for at_us in range(START_US, START_US + 20 * 10**9, 10**9)]
    rate(world, PERSON, posts, 0)
    assert found(world) == []


def test_a_verdict_lasts_some_days() -> None:
    world = World(DAY, 2)
    posts = posts_of(world, AUTHOR, 60)
    rate(world, ROBOT, posts, 3600)
    spammers = Spammers(FEW)
    for day in range(DAY, DAY + KEPT_DAYS + 2):
        caught = spammers.look(world.view, day * US_PER_DAY + 1).tolist()
        assert caught == ([ROBOT] if day < DAY + KEPT_DAYS else []), day


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    graph = Graph(tmp_path)
    yield graph
    graph.close()


def fill(graph: Graph) -> None:
    graph.start_day(DAY)
    numbers = np.arange(60, dtype=np.uint32) + graph.next_posts(60)
    ticks = np.full(60, tick_of(START_US + US_PER_S), np.uint16)
    nothing = np.full(60, NO_POST, np.uint32)
    graph.add_posts(
        numbers, np.full(60, AUTHOR), np.arange(60) + (START_US << 10), ticks, np.full(60, KNOWN), np.zeros(60), nothing
    )
    graph.add_ratings(np.full(60, ROBOT), numbers, np.full(60, tick_of(START_US + 3600 * US_PER_S)))


def test_the_mark_stands_beside_what_accounts_say_of_themselves(graph: Graph) -> None:
    fill(graph)
    flags = graph.view().arrays.person_flags
    spammers = find_spammers(graph.view(), 0, FEW)
    assert spammers.tolist() == [ROBOT]
    graph.set_person_flags([ROBOT, PERSON], [0, 0])
    graph.set_spammers(spammers)
    assert flags[[ROBOT, PERSON]].tolist() == [SPAMMY, 0]
    graph.set_person_flags([ROBOT, PERSON], [INACTIVE, INACTIVE])
    assert flags[[ROBOT, PERSON]].tolist() == [SPAMMY | INACTIVE, INACTIVE]
    graph.set_spammers([PERSON])
    assert flags[[ROBOT, PERSON]].tolist() == [INACTIVE, SPAMMY | INACTIVE]
