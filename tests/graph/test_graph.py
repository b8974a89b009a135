"""The arrays against a plain model: any sequence of additions, removals, midnights, seals, drops, restarts agrees."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgen.core.ids import DATED_TICK, NO_PERSON, NO_POST, POSTS_PER_DAY, US_PER_DAY, tick_us
from feedgen.graph.graph import DayFull, Graph
from feedgen.graph.live import MAX_ON_TOP, MAX_POSTS
from feedgen.graph.sealed import SealedDay
from feedgen.ingest.events import DELETED, GONE, KNOWN
from tests.graph.model import MemoryDay

FIRST_DAY = 20_000
PEOPLE = 30
OPERATIONS = (
    "posts", "ratings", "ratings", "many_ratings", "follows", "remove", "remove", "remove_follow", "erase", "update",
    "mark", "midnight", "seal", "seal_and_wait", "drop", "restart", "flush", "repeat",
)  # fmt: skip


class Pair:
    """The graph and its model, driven by the same operations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graph = Graph(folder, identity=7)
        self.truth: dict[int, MemoryDay] = {}
        self.today = FIRST_DAY
        self._start()

    def run(self, operation: str, rng: np.random.Generator) -> None:
        getattr(self, operation)(rng)

    def posts(self, rng: np.random.Generator, count: int = 12) -> None:
        authors = rng.integers(0, PEOPLE, count).astype(np.uint32)
        keys = [self._key(rng) for _ in range(count)]
        wanted = list(zip(authors.tolist(), keys, strict=True))
        found = self.graph.find_posts(authors, keys).tolist()
        known = self.known()
        assert found == [known.get(pair, NO_POST) for pair in wanted]
        new = list(dict.fromkeys(pair for pair, n in zip(wanted, found, strict=True) if n == NO_POST))
        start = self.graph.next_posts(len(new))
        tick, flags, about = (int(rng.integers(0, end)) for end in (65_536, 64, NO_POST))
        rows = {
            start + i: (author, key, tick, flags, i % 7, about)
            for i, (author, key) in enumerate(new)
        }  # fmt: skip
        self.truth[self.today].rows.update(rows)
        self.graph.add_posts(list(rows), *([row[i] for row in rows.values()] for i in range(6)))

    def _key(self, rng: np.random.Generator) -> int:
        """Mostly of today; some old, some ahead of their time, some odd."""
        kind = rng.integers(0, 10)
        if kind == 0:
            return -int(rng.integers(1, 200))
        day = self.today + (int(rng.integers(-5, 0)) if kind == 1 else int(rng.integers(1, 4)) if kind == 2 else 0)
        return (day * US_PER_DAY + int(rng.integers(0, 60))) << 10

    def ratings(self, rng: np.random.Generator, count: int = 40) -> None:
        numbers = self.numbers()
        if not numbers:
            return
        actors = rng.integers(0, PEOPLE, count).astype(np.uint32)
        # A few posts get most, so that lists of several blocks come about; some posts have no number that anyone gave.
        posts = np.array(numbers, np.uint32)[(rng.random(count) ** 3 * len(numbers)).astype(int)]
        today = self.truth[self.today]
        last = today.rated[-1][2] if today.rated else 0
        ticks = np.minimum(np.maximum(last + np.cumsum(rng.integers(0, 20, count)), DATED_TICK + 1), 65_535).astype(
            np.uint16
        )
        there = {(a, p) for a, p, _ in today.rated}
        expected = []
        for pair in zip(actors.tolist(), posts.tolist(), strict=True):
            expected.append(pair not in there)
            there.add(pair)
        assert self.graph.has_edges(actors, posts).tolist() == [not new for new in expected]
        added = self.graph.add_ratings(actors, posts, ticks)
        assert added.tolist() == expected
        today.rated += list(zip(actors.tolist(), posts.tolist(), ticks.tolist(), strict=True))

    def many_ratings(self, rng: np.random.Generator) -> None:
        self.ratings(rng, 700)

    def repeat(self, rng: np.random.Generator) -> None:
        today = self.truth[self.today]
        if today.rated:
            actor, post, _ = today.rated[int(rng.integers(0, len(today.rated)))]
            tick = today.rated[-1][2]
            assert not self.graph.add_ratings([actor], [post], [tick]).any()
            today.rated.append((actor, post, tick))
            assert self.graph.take_double_rating(self.today, actor, post)

    def follows(self, rng: np.random.Generator) -> None:
        actors, subjects = (rng.integers(0, PEOPLE, 10).tolist() for _ in range(2))
        there = [pair in self.truth[self.today].followed for pair in zip(actors, subjects, strict=True)]
        assert self.graph.has_follows(actors, subjects).tolist() == there
        self.graph.add_follows(actors, subjects)
        self.truth[self.today].followed += zip(actors, subjects, strict=True)

    def remove(self, rng: np.random.Generator) -> None:
        for _ in range(5):
            day = int(rng.choice(list(self.truth)))
            rated = self.truth[day].rated
            actor, post = rated[int(rng.integers(0, len(rated)))][:2] if rated else (3, self.today % 256 << 24)
            assert self.graph.remove_rating(day, actor, post) == bool(rated)
            assert not self.graph.remove_rating(day, actor, post)
            self.truth[day].remove_rating(actor, post)

    def remove_follow(self, rng: np.random.Generator) -> None:
        actor, subject = (int(rng.integers(0, PEOPLE)) for _ in range(2))
        for day, truth in self.truth.items():
            assert self.graph.remove_follow(day, actor, subject) == ((actor, subject) in truth.followed)
            truth.remove_follow(actor, subject)

    def erase(self, rng: np.random.Generator) -> None:
        person = int(rng.integers(0, PEOPLE))
        self.graph.erase_person(person)
        for day in self.truth.values():
            day.erase_person(person)
        assert self.graph.view().arrays.person_flags[person] & GONE
        assert self.graph.erase_person(person) == 0

    def update(self, rng: np.random.Generator) -> None:
        numbers = self.numbers()
        some = [int(n) for n in rng.choice(numbers, min(4, len(numbers)), replace=False)] if numbers else []
        flags, language, about = (
            KNOWN | int(rng.integers(0, 64)) << 1,
            int(rng.integers(0, 200)),
            int(rng.integers(0, 1 << 31)),
        )
        self.graph.update_posts(some, [flags] * len(some), [language] * len(some), [about] * len(some))
        for n in some:
            rows = self.of(n).rows
            rows[n] = (*rows[n][:3], flags, language, about)

    def mark(self, rng: np.random.Generator) -> None:
        numbers = self.numbers()
        on = bool(rng.integers(0, 2))
        some = [int(n) for n in rng.choice(numbers, min(4, len(numbers)), replace=False)] if numbers else []
        self.graph.mark_posts(some, DELETED | 64, on)
        for n in some:
            rows = self.of(n).rows
            flags = rows[n][3] | DELETED | 64 if on else rows[n][3] & ~(DELETED | 64)
            rows[n] = (*rows[n][:3], flags, *rows[n][4:])

    def midnight(self, rng: np.random.Generator) -> None:
        self.today += 1 + int(rng.integers(0, 2))
        self._start()

    def _start(self) -> None:
        self.truth[self.today] = MemoryDay(self.today)
        self.graph.start_day(self.today)
        self.graph.start_day(self.today)

    def seal(self, rng: np.random.Generator) -> None:
        day = int(rng.choice(list(self.truth)))
        if day != self.today:
            self.graph.seal(day, self.truth[day])

    def seal_and_wait(self, rng: np.random.Generator) -> None:
        for day in self.truth:
            if day != self.today:
                self.graph.seal(day, self.truth[day]).result()

    def drop(self, rng: np.random.Generator) -> None:
        if len(self.truth) > 2:
            day = min(self.truth)
            del self.truth[day]
            self.graph.drop(day)
            assert not self.graph.path_of(day).exists()

    def flush(self, rng: np.random.Generator) -> None:
        self.graph.flush()

    def restart(self, rng: np.random.Generator) -> None:
        self.graph.close()
        self.graph = Graph(self.folder, identity=7)
        past = [source for day, source in self.truth.items() if day != self.today]
        self.graph.load(past, self.truth[self.today])
        self.graph.wait()

    # What the model knows

    def of(self, post: int) -> MemoryDay:
        return next(day for day in self.truth.values() if day.day % 256 == post >> 24)

    def numbers(self) -> list[int]:
        return [n for day in self.truth.values() for n in day.rows]

    def known(self) -> dict[tuple[int, int], int]:
        return {row[:2]: n for day in self.truth.values() for n, row in day.rows.items() if row[0] != NO_PERSON}

    def check(self) -> None:
        view = self.graph.view()
        arrays = view.arrays
        assert arrays.day_numbers.tolist() == sorted(self.truth)
        counts = dict.fromkeys(self.numbers(), 0)
        people = [0] * PEOPLE
        for day in self.truth.values():
            for actor, post in {row[:2] for row in day.rated}:
                people[actor] += 1
                if post in counts:
                    counts[post] += 1
        assert arrays.person_ratings[:PEOPLE].tolist() == people
        for n, count in counts.items():
            facts = view.post(n)
            author, key, tick, flags, language, about = self.of(n).rows[n]
            assert facts is not None
            assert (facts.author, facts.key, facts.flags) == (author, key, flags)
            assert (facts.language, facts.about, facts.count) == (language, about, count)
            assert facts.time_us == tick_us(self.of(n).day, tick)
            self._check_list(view.likers_of(n, 1000), [(day, day.likers(n)) for day in self.truth.values()])
        for person in range(PEOPLE):
            self._check_list(view.likes_of(person, 1000), [(day, day.likes(person)) for day in self.truth.values()])
            follows = [who for _, day in sorted(self.truth.items(), reverse=True) for who in day.follows_of(person)]
            assert view.follows_of(person).tolist() == list(dict.fromkeys(follows))
        known = self.known()
        found = view.find_posts([a for a, _ in known], [k for _, k in known])
        assert found.tolist() == list(known.values())
        for sealed in self.graph._days.values():
            if isinstance(sealed, SealedDay):
                assert sealed.verify() == []

    def _check_list(
        self, got: tuple[np.ndarray, np.ndarray], days: list[tuple[MemoryDay, list[tuple[int, int]]]]
    ) -> None:
        expected: dict[int, int] = {}
        for day, values in sorted(days, key=lambda pair: -pair[0].day):
            sealed = isinstance(self.graph._days[day.day], SealedDay)
            for value, tick in values:
                # A sealed day keeps 8 bits; 0 is for dated ratings, so the first minutes become the second step.
                coarse = max(tick & 0xFF00, 0x0100) | 0x80
                expected.setdefault(value, tick_us(day.day, coarse if sealed else tick))
        assert list(zip(got[0].tolist(), got[1].tolist(), strict=True)) == list(expected.items())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 1000)), max_size=40),
    st.sampled_from([25, 200, MAX_ON_TOP]),
)
def test_any_sequence_gives_the_lists_of_the_model(operations: list[tuple[str, int]], on_top: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("feedgen.graph.graph.MAX_ON_TOP", on_top)  # so that most of a day is in layers below
        pair = Pair(Path(folder))
        try:
            for operation in ("posts", "ratings", "follows"):
                pair.run(operation, np.random.default_rng(1))
            for operation, seed in operations:
                pair.run(operation, np.random.default_rng(seed))
            pair.graph.wait()
            pair.check()
            pair.restart(np.random.default_rng(0))
            pair.check()
        finally:
            pair.graph.close()


def test_long_lists_on_a_live_and_a_sealed_day_keep_their_order(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    slot = FIRST_DAY % 256 << 24
    pair.posts(np.random.default_rng(1), 3)
    actors = np.arange(2000, dtype=np.uint32)
    ticks = np.arange(0, 40_000, 20, dtype=np.uint16)
    assert pair.graph.add_ratings(actors, np.full(2000, slot, np.uint32), ticks).all()
    pair.truth[FIRST_DAY].rated += [(int(a), slot, int(t)) for a, t in zip(actors, ticks, strict=True)]
    for limit in (1, 2, 3, 253, 254, 255, 256, 1999, 2000, 3000):
        people, times = pair.graph.view().likers_of(slot, limit)
        assert people.tolist() == actors[::-1][:limit].tolist()
        assert times.tolist() == [tick_us(FIRST_DAY, int(t)) for t in ticks[::-1][:limit]]
    pair.midnight(np.random.default_rng(0))
    pair.seal_and_wait(np.random.default_rng(0))
    for limit in (1, 254, 2000, 3000):
        assert pair.graph.view().likers_of(slot, limit)[0].tolist() == actors[::-1][:limit].tolist()
    pair.graph.close()


def test_a_view_of_a_dropped_day_stays_right_while_it_is_held(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    for operation in ("posts", "ratings", "midnight", "posts", "ratings", "seal_and_wait", "midnight"):
        pair.run(operation, np.random.default_rng(3))
    view, post = pair.graph.view(), FIRST_DAY % 256 << 24
    before = view.likers_of(post, 100)[0].tolist()
    assert before
    pair.drop(np.random.default_rng(0))
    assert pair.graph.view().post(post) is None
    assert view.likers_of(post, 100)[0].tolist() == before
    pair.graph.close()
    assert view.likers_of(post, 100)[0].tolist() == before


def test_a_late_key_is_found_on_every_later_day_and_a_lying_one_anywhere(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    keys = [
        (FIRST_DAY - 80) * US_PER_DAY << 10,
        (FIRST_DAY + 3000) * US_PER_DAY << 10,
        -5,
        FIRST_DAY * US_PER_DAY << 10,
    ]
    start = pair.graph.next_posts(4)
    pair.graph.add_posts(range(start, start + 4), [1] * 4, keys, [0] * 4, [1] * 4, [0] * 4, [NO_POST] * 4)
    for _ in range(4):
        assert pair.graph.find_posts([1] * 4, keys).tolist() == list(range(start, start + 4))
        assert pair.graph.find_posts([2] * 4, keys).tolist() == [NO_POST] * 4
        pair.midnight(np.random.default_rng(1))
    pair.graph.close()


def test_a_day_runs_out_of_numbers_with_an_error_that_says_so(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    graph.start_day(FIRST_DAY)
    assert graph.next_posts(MAX_POSTS) & (POSTS_PER_DAY - 1) == 0
    with pytest.raises(DayFull):
        graph.next_posts(MAX_POSTS + 1)
    graph.close()


def test_numbers_that_nobody_gave_are_refused_and_nothing_else_is_lost(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.posts(np.random.default_rng(1), 3)
    slot = FIRST_DAY % 256 << 24
    added = pair.graph.add_ratings([1, NO_PERSON, 1, 1], [slot + 9999, slot, NO_POST, slot], [1, 2, 3, 4])
    assert added.tolist() == [False, False, False, True]
    with pytest.raises(ValueError, match="not of the open day"):
        pair.graph.add_posts([slot + (1 << 24)], [1], [5], [0], [1], [0], [NO_POST])
    pair.graph.close()


def test_days_only_go_forward_and_a_slot_is_never_taken_twice(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    graph.start_day(FIRST_DAY)
    with pytest.raises(ValueError, match="does not come after"):
        graph.start_day(FIRST_DAY - 1)
    with pytest.raises(ValueError, match="must be dropped"):
        graph.start_day(FIRST_DAY + 256)
    graph.drop(FIRST_DAY)
    graph.start_day(FIRST_DAY + 256)
    assert graph.days == [FIRST_DAY + 256]
    graph.close()


def test_doubles_are_counted_one_by_one_and_go_with_an_erased_person(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.posts(np.random.default_rng(1), 3)
    post = FIRST_DAY % 256 << 24
    pair.graph.add_ratings([1, 1, 1, 2, 2], [post] * 5, [1, 2, 3, 4, 5])
    assert [pair.graph.take_double_rating(FIRST_DAY, 1, post) for _ in range(3)] == [True, True, False]
    pair.graph.erase_person(2)
    assert pair.graph.take_double_rating(FIRST_DAY, 2, post) is False
    assert pair.graph.take_double_rating(FIRST_DAY - 1, 2, post) is None
    pair.graph.close()


def test_edges_that_need_one_more_list_than_may_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedgen.graph.live.MAX_LISTS", 30)
    graph = Graph(tmp_path)
    graph.start_day(20_000)
    post = graph.next_posts(1)
    graph.add_posts([post], [900], [5], [0], [1], [0], [NO_POST])
    people = np.arange(40)
    assert graph.add_ratings(people, np.full(40, post), np.zeros(40)).tolist() == [True] * 30 + [False] * 10
    assert graph.view().likers_of(post, 100)[0].tolist() == [*range(29, -1, -1)]
    graph.add_follows(people, people + 1)
    assert [graph.view().follows_of(person).tolist() for person in (0, 29, 30)] == [[1], [30], []]
    elsewhere = np.arange(40) | 19_999 % 256 << 24  # on lists of posts of the day before
    assert graph.add_ratings(np.zeros(40), elsewhere, np.zeros(40)).sum() == 30
    graph.close()
