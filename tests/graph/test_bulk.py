"""A day filled in bulk is the day that adding edge by edge makes: to readers, and to all that changes it later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgen.core.ids import NO_PERSON, NO_POST
from feedgen.graph import bulk, live
from feedgen.graph.access import COUNT, I64, U32, Arrays
from feedgen.graph.doubles import Doubles
from feedgen.graph.graph import Graph
from tests.graph.model import MemoryDay

DAY = 20_001
OWN, OLD = DAY % 256 << 24, (DAY - 1) % 256 << 24
PEOPLE = 25
POSTS = 20
BAD = [(NO_PERSON, OWN, 7), (3, NO_POST, 7), (2, OWN | live.MAX_POSTS, 7), (1 << 30, OLD | 1, 7)]


def number(author: int) -> tuple[int, int, int, int, int, int]:
    return author % PEOPLE, author << 10, 5, 1, 2, NO_POST


def two_graphs(folder: str, truth: MemoryDay) -> tuple[Graph, Graph]:
    """(edge by edge, in bulk), each with a day before it that knows the older posts."""
    graphs = []
    for name in ("single", "bulk"):
        path = Path(folder) / name
        path.mkdir()
        graph = Graph(path)
        graph.start_day(DAY - 1)
        rows = [number(i) for i in range(POSTS)]
        graph.add_posts(np.arange(POSTS) | OLD, *([row[i] for row in rows] for i in range(6)))
        graphs.append(graph)
    one_by_one(graphs[0], truth)
    graphs[1].replay(truth)
    return graphs[0], graphs[1]


def one_by_one(graph: Graph, truth: MemoryDay) -> None:
    graph.start_day(DAY)
    graph.add_posts(*truth.posts())
    actors, posts, ticks = truth.ratings()
    own = posts[(posts >> 24 == OWN >> 24) & (actors < bulk.MAX_RATINGS) & (posts & 0xFF_FFFF < live.MAX_POSTS)]
    day = graph._the_open_day()
    day.skip_posts(graph._arrays, graph._row(DAY), int((own & 0xFF_FFFF).max()) + 1 if own.size else 0)
    for at in range(actors.size):
        graph.add_ratings(actors[at : at + 1], posts[at : at + 1], ticks[at : at + 1])
    graph.add_follows(*truth.follows())


def says(graph: Graph, people: int = PEOPLE, posts: int = POSTS) -> list[object]:
    """All that can be seen of the day."""
    view = graph.view()
    told: list[object] = [graph._people.top, graph._the_open_day().edges, graph._the_open_day().posts]
    for person in range(people):
        listed, times = view.likes_of(person, 10_000)
        told.append((person, listed.tolist(), times.tolist(), view.follows_of(person).tolist()))
    for base in (OWN, OLD):
        for post in range(base, base + posts):
            listed, times = view.likers_of(post, 10_000)
            facts = view.post(post)
            about = None if facts is None else (facts.author, facts.key, facts.flags, facts.count)
            told.append((post, listed.tolist(), times.tolist(), about))
    told.append(view.arrays.person_ratings[:people].tolist())
    told.append(view.find_posts([number(i)[0] for i in range(POSTS)], [number(i)[1] for i in range(POSTS)]).tolist())
    pairs = [(a, base | n) for a in range(people) for base in (OWN, OLD) for n in range(posts)]
    told.append(graph.has_edges([a for a, _ in pairs], [p for _, p in pairs]).tolist())
    return told


ratings = st.lists(
    st.one_of(
        st.tuples(st.integers(0, PEOPLE - 1), st.integers(0, POSTS - 1).map(lambda n: OWN | n), st.just(1)),
        st.tuples(st.integers(0, PEOPLE - 1), st.integers(0, POSTS - 1).map(lambda n: OLD | n), st.just(2)),
        st.tuples(st.integers(0, 3), st.integers(0, 2).map(lambda n: OWN | n), st.just(3)),
        st.sampled_from(BAD),
    ),
    max_size=150,
)
follows = st.lists(st.tuples(st.integers(0, PEOPLE - 1), st.integers(0, PEOPLE - 1)), max_size=60)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rated=ratings,
    later=ratings,
    followed=follows,
    posts=st.integers(0, POSTS - 1),
    piece=st.sampled_from([1, 7, 40, bulk.PIECE]),
    most=st.sampled_from([64, bulk.MAX_RATINGS]),
    on_top=st.sampled_from([5, 60, live.MAX_ON_TOP]),
)
def test_bulk_equals_one_by_one(
    rated: list[tuple[int, int, int]],
    later: list[tuple[int, int, int]],
    followed: list[tuple[int, int]],
    posts: int,
    piece: int,
    most: int,
    on_top: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", on_top)
    monkeypatch.setattr(bulk, "PIECE", min(piece, most // 2))
    monkeypatch.setattr(bulk, "MAX_RATINGS", most)
    monkeypatch.setattr("feedgen.graph.graph.MAX_FOLLOWS", 40)
    truth = MemoryDay(DAY, rated=rated, followed=followed, rows={OWN | n: number(n + 1) for n in range(posts)})
    with tempfile.TemporaryDirectory() as folder:
        single, filled = graphs = two_graphs(folder, truth)
        assert says(single) == says(filled)
        actors, numbers, ticks = ([row[i] for row in later] for i in range(3))
        added = [graph.add_ratings(actors, numbers, ticks).tolist() for graph in graphs]
        assert added[0] == added[1]
        assert says(single) == says(filled)
        for actor, post, tick in (rated + later)[::3]:
            if (actor, post, tick) not in BAD:  # where it was refused, whether it was said twice says nothing
                doubles = [graph.take_double_rating(DAY, actor, post) for graph in graphs]
                assert doubles[0] == doubles[1]
                if not doubles[0]:
                    assert single.remove_rating(DAY, actor, post) == filled.remove_rating(DAY, actor, post)
        for actor, subject in followed[::3]:
            doubles = [graph.take_double_follow(DAY, actor, subject) for graph in graphs]
            assert doubles[0] == doubles[1]
            if not doubles[0]:
                assert single.remove_follow(DAY, actor, subject) == filled.remove_follow(DAY, actor, subject)
        assert single.erase_person(1) == filled.erase_person(1)
        assert says(single) == says(filled)
        for graph in graphs:
            graph.add_follows(*truth.follows())
            graph.close()
        assert says(single) == says(filled)


class Pieces(MemoryDay):
    """A source that gives its ratings as columns of its own, a piece at a time."""

    columns: tuple[U32, U32, U32]

    def rating_pieces(self) -> Iterator[bulk.RatingPiece]:
        actors, posts, ticks = self.columns
        for at in range(0, actors.size, 70_001):
            here = slice(at, at + 70_001)
            yield actors[here], posts[here], ticks[here].astype(np.uint16)


def busy_day(count: int) -> Pieces:
    """Few very long lists, many short ones, some said twice: by skewed choice among people and posts."""
    rng = np.random.default_rng(4)
    actors = (rng.random(count) ** 3 * 9_000).astype(np.uint32)
    posts = (rng.random(count) ** 4 * 30_000).astype(np.uint32)
    base = np.where(rng.random(count) < 0.4, OLD, OWN).astype(np.uint32)
    base[rng.random(count) < 0.1] = (DAY - 9) % 256 << 24  # a day that we do not have
    day = Pieces(DAY, rows={OWN | n: number(n) for n in range(0, 20_000, 2)})
    day.columns = actors, posts | base, np.sort(rng.integers(0, 65_536, count)).astype(np.uint32)
    return day


@pytest.mark.parametrize("on_top", [40_000, live.MAX_ON_TOP])
def test_a_busy_day_equals_one_by_one(on_top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", on_top)
    truth = busy_day(400_000)
    actors, posts, ticks = truth.columns
    single, filled = Graph(tmp_path), Graph(tmp_path)
    for graph in (single, filled):
        graph.start_day(DAY - 1)
        graph.add_posts(np.arange(9_000) | OLD, *(np.zeros(9_000, int) for _ in range(6)))
    single.start_day(DAY)
    single.add_posts(*truth.posts())
    single._the_open_day().skip_posts(single._arrays, single._row(DAY), 30_000)
    for at in range(0, actors.size, 50_000):  # the day finds out on the way that it is a busy one
        here = slice(at, at + 50_000)
        single.add_ratings(actors[here], posts[here], ticks[here])
    filled.replay(truth)
    same(single, filled, posts)
    for graph in (single, filled):
        graph.add_ratings(actors[::-3], posts[::3], ticks[::3])
    same(single, filled, posts)
    for graph in (single, filled):
        graph.wait()
        graph._begin_layer(graph._the_open_day())
        graph.wait()
    same(single, filled, posts)
    single.close(), filled.close()


def same(single: Graph, filled: Graph, posts: U32) -> None:
    one, other = single.view(), filled.view()
    assert single._the_open_day().edges == filled._the_open_day().edges > live.QUIET_EDGES
    for d in range(2):
        assert counts(one.arrays, d).tolist() == counts(other.arrays, d).tolist()
    assert (one.arrays.person_ratings[:9_000] == other.arrays.person_ratings[:9_000]).all()
    assert single._the_open_day().posts == filled._the_open_day().posts
    assert (single._the_open_day().filter == filled._the_open_day().filter).all()
    assert single._the_open_day().double_ratings.all() == filled._the_open_day().double_ratings.all() != {}
    for person in [*range(0, 9_000, 37), *range(30)]:
        for left, right in zip(one.likes_of(person, 50_000), other.likes_of(person, 50_000), strict=True):
            assert (left == right).all()
    for post in {*posts[::301].tolist(), *range(OWN, OWN + 20), *range(OLD, OLD + 20)}:
        for left, right in zip(one.likers_of(post, 50_000), other.likers_of(post, 50_000), strict=True):
            assert (left == right).all()


def counts(arrays: Arrays, d: int) -> I64:
    return np.array([load_u16_of(arrays, d, n) for n in range(9_000)])


def load_u16_of(arrays: Arrays, d: int, n: int) -> int:
    return int(
        np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint16 * 1).from_address(int(arrays.days[d, COUNT]) + 2 * n))[0]
    )


def test_only_so_many_doubles_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedgen.graph.doubles.MAX_DOUBLES", 2)
    doubles = Doubles()
    bulk._remember(doubles, np.array([1 << 32 | 5, 1 << 32 | 5, 2 << 32 | 8, 2 << 32 | 9], np.int64))
    assert doubles.take(1, 5) is True and doubles.take(1, 5) is True
    assert doubles.take(1, 5) is False
    assert doubles.take(2, 8) is True and doubles.take(2, 9) is False  # there was no room for the last


def test_a_day_that_has_ratings_is_not_filled(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    truth = MemoryDay(DAY, rated=[(1, OWN, 1)])
    graph.replay(truth)
    with pytest.raises(ValueError, match="not empty"):
        graph.replay(truth)
    graph.close()
