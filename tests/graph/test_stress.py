"""Readers beside a writer: no torn state, nothing missing, nothing that was taken back, and no waiting.

Every edge carries its own proof: people like a post in ascending order, and an edge's tick follows from both ends. So a
copy that is torn, out of order or of another list gives itself away. The writer says how far it is: what it had
finished before a copy began must be in the copy, what it had removed must not. A View knows nothing of layers that came
after it, so there only what was finished before the View was taken must be in the copy.
"""

from __future__ import annotations

import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from feedgen.core.ids import NO_POST
from feedgen.core.jit import inline, njit
from feedgen.graph.access import (
    I64,
    U8,
    U16,
    U32,
    Arrays,
    Places,
    copy_likers,
    copy_likes,
    places_of,
    post_author,
    post_count,
    post_key,
    post_row,
)
from feedgen.graph.compact import merge
from feedgen.graph.graph import Graph
from feedgen.graph.live import MAX_ON_TOP
from feedgen.graph.view import View
from feedgen.graph.words import i64

DAY = 20_000
POSTS = 40
PEOPLE = 3000
FIRST_TICK = 256  # a sealed day's first step of time is for dated ratings, which nobody is a co-liker by
ADDED, REMOVED, STOP = 0, 1, 2  # words of progress: rounds of people that are in, rounds that are partly out again


@inline
def tick_for(person: int, post: int) -> int:
    return i64(person) * 20 + (i64(post) & 0xFF_FFFF) // 2 + FIRST_TICK


@inline
def goes(person: int, post: int) -> bool:
    """Whether the writer takes this edge back, a hundred people later."""
    return (i64(person) + (i64(post) & 0xFF_FFFF)) % 3 == 0


@inline
def _wrong_list(at: Places, post: int, low: int, out: int, people: U32, ticks: U16) -> int:
    """0 if the likers are as they must be: a number that says what is wrong otherwise."""
    d = post_row(at, post)
    if d < 0 or post_author(at, d, post) != 7 or post_key(at, d, post) != (i64(post) & 0xFF_FFFF) + 1:
        return 1
    n = copy_likers(at, d, post, people.size, people, ticks)
    before, expected = i64(1 << 40), low - 1
    for i in range(n):
        person = i64(people[i])
        if person >= before:
            return 2
        sealed = ticks[i] & 0xFF == 128 and ticks[i] >> 8 == tick_for(person, post) >> 8
        if ticks[i] != tick_for(person, post) and not sealed:
            return 3
        if goes(person, post) and person < out:
            return 4
        # Between this one and the one before, everybody whom the writer was done with must have gone away again.
        while expected > person:
            if not goes(expected, post):
                return 5
            expected -= 1
        if expected == person:
            expected -= 1
        before = person
    while expected >= 0:
        if not goes(expected, post):
            return 6
        expected -= 1
    return 0


@inline
def _wrong_person(at: Places, d: int, person: int, out: int, posts: U32, ticks: U16) -> int:
    n = copy_likes(at, d, person, posts.size, posts, ticks)
    for i in range(n):
        if posts[i] & 0xFF_FFFF >= POSTS or (i > 0 and posts[i] >= posts[i - 1]):
            return 7
        if ticks[i] >> 8 != tick_for(person, posts[i]) >> 8:
            return 8
        if person < out and goes(person, posts[i]):
            return 9
    return 0


@njit
def watch(a: Arrays, slot: int, progress: I64, known: int, rounds: int, seen: I64) -> int:
    """Copy and check lists over and over, until told to stop or for so many rounds. `known`: up to whom the View can
    know everybody.
    """
    at, people, ticks = places_of(a), np.empty(PEOPLE + 10, np.uint32), np.empty(PEOPLE + 10, np.uint16)
    while rounds != 0 and progress[STOP] == 0:
        for n in range(POSTS):
            low, out = min(progress[ADDED], known), progress[REMOVED]
            wrong = _wrong_list(at, slot << 24 | n, low, out, people, ticks)
            if wrong == 0:
                person = (seen[0] * 7919) % PEOPLE
                wrong = _wrong_person(at, post_row(at, slot << 24), person, out, people, ticks)
            if wrong:
                return wrong
            if post_count(at, post_row(at, slot << 24), slot << 24 | n) > PEOPLE:
                return 10
            seen[0] += 1
        rounds -= 1
    return 0


class Truth:
    """The day as the writer's progress says it is."""

    day, sealed = DAY, False

    def __init__(self) -> None:
        self.added = self.removed = 0

    def version(self) -> int:
        return 0

    def ratings(self) -> tuple[U32, U32, U16]:
        person, n = np.repeat(np.arange(self.added), POSTS), np.tile(np.arange(POSTS), self.added)
        stays = ((person + n) % 3 != 0) | (person >= self.removed)
        person, n = person[stays], n[stays]
        post = (n | DAY % 256 << 24).astype(np.uint32)
        return person.astype(np.uint32), post, (person * 20 + n // 2 + FIRST_TICK).astype(np.uint16)

    def posts(self) -> tuple[U32, U32, I64, U16, U16, U8, U32]:
        n = np.arange(POSTS)
        zero = np.zeros(POSTS, np.int64)
        return (
            (n | DAY % 256 << 24).astype(np.uint32), np.full(POSTS, 7, np.uint32), n + 1, zero.astype(np.uint16),
            zero.astype(np.uint16), zero.astype(np.uint8), np.full(POSTS, NO_POST, np.uint32),
        )  # fmt: skip

    def follows(self) -> tuple[U32, U32]:
        return np.empty(0, np.uint32), np.empty(0, np.uint32)


class Stage:
    """A graph with some posts, and a writer that likes and takes back."""

    def __init__(self, folder: Path, on_top: int = MAX_ON_TOP) -> None:
        self.layered = on_top < MAX_ON_TOP
        self.graph = Graph(folder)
        self.graph.start_day(DAY)
        self.slot = DAY % 256
        self.truth = Truth()
        self.graph.add_posts(*self.truth.posts())
        self.numbers = self.truth.posts()[0]
        self.progress = np.zeros(3, np.int64)
        self.failures: list[str] = []
        self.watch(self.look(), 1, np.zeros(1, np.int64))  # compiled before it counts

    def look(self) -> tuple[View, int]:
        """A View, and up to whom it can know everybody."""
        known = int(self.progress[ADDED])
        return self.graph.view(), known if self.layered else PEOPLE

    def watch(self, look: tuple[View, int], rounds: int, seen: I64) -> int:
        return int(watch(look[0].arrays, self.slot, self.progress, look[1], rounds, seen))

    def write(self) -> None:
        """One person after the other likes all posts; a hundred people later, some of that is taken back."""
        for person in range(PEOPLE):
            self.truth.added = person + 1
            ticks = person * 20 + np.arange(POSTS) // 2 + FIRST_TICK
            self.graph.add_ratings(np.full(POSTS, person, np.uint32), self.numbers, ticks.astype(np.uint16))
            self.progress[ADDED] = person + 1
            if person >= 100:
                self.take_back(person - 100)
            if self.layered and person % 300 == 0:
                self.graph.wait()  # layers are merged, as many as there were time for, but once at least

    def take_back(self, person: int) -> None:
        self.truth.removed = person + 1
        for n in range(-person % 3, POSTS, 3):
            if not self.graph.remove_rating(DAY, person, int(self.numbers[n])):
                self.failures.append(f"{person} {n} was not there")
        self.progress[REMOVED] = person + 1

    def read(self, seen: I64) -> None:
        while self.progress[STOP] == 0:
            wrong = self.watch(self.look(), 2, seen)
            if wrong:
                self.failures.append(f"reader saw fault {wrong}")
                return


@pytest.mark.parametrize("on_top", [3_000, MAX_ON_TOP])
def test_readers_see_no_torn_list_while_a_day_is_written_sealed_and_changed(
    on_top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", on_top)
    monkeypatch.setattr("feedgen.graph.graph.merge", lambda *args: (merges.append(1), merge(*args))[1])
    merges: list[int] = []
    stage = Stage(tmp_path, on_top)
    counters = [np.zeros(1, np.int64) for _ in range(2)]
    readers = [threading.Thread(target=stage.read, args=(seen,)) for seen in counters]
    for reader in readers:
        reader.start()
    try:
        stage.write()
        stage.graph.start_day(DAY + 1)
        done = stage.graph.seal(DAY, stage.truth)
        for person in range(PEOPLE - 100, PEOPLE - 50):
            stage.take_back(person)
        done.result()
        for person in range(PEOPLE - 50, PEOPLE):
            stage.take_back(person)
    finally:
        stage.progress[STOP] = 1
        for reader in readers:
            reader.join()
        stage.graph.close()
    assert stage.failures == []
    assert min(int(seen[0]) for seen in counters) > POSTS
    assert len(merges) >= PEOPLE // 300 - 1 if on_top < MAX_ON_TOP else not merges


@pytest.mark.parametrize("on_top", [3_000, MAX_ON_TOP])
def test_the_checker_finds_what_it_is_there_for(on_top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these is a state that no reader may ever see."""
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", on_top)
    stage = Stage(tmp_path, on_top)
    seen = np.zeros(1, np.int64)
    stage.write()

    def wrong() -> int:
        return stage.watch(stage.look(), 1, seen)

    assert wrong() == 0
    stage.progress[REMOVED] += 1  # one round is said to be out that is still in
    assert wrong() in (4, 9)
    stage.progress[REMOVED] -= 1
    assert stage.graph.remove_rating(DAY, PEOPLE - 1, int(stage.numbers[(2 - PEOPLE) % 3]))  # one that was to stay
    assert wrong() in (5, 6)
    stage.graph.close()


@pytest.mark.parametrize("on_top", [3_000, MAX_ON_TOP])
def test_a_reader_never_waits_for_the_writer(on_top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a day is written, changed, sealed and swapped, a reader sleeps less than a millisecond in all.

    Being put aside because others want the processor is not waiting, and is told apart by the kernel's own count.
    """
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", on_top)
    stage = Stage(tmp_path, on_top)
    slept: list[float] = []

    def read() -> None:
        look, seen = stage.look(), np.zeros(1, np.int64)
        stage.watch(look, 1, seen)
        started.set()
        before, voluntary, began = _scheduled(), _voluntary(), time.perf_counter()
        wrong = stage.watch(look, -1, seen)
        wall, after = time.perf_counter() - began, _scheduled()
        switches = _voluntary() - voluntary
        slept.append(0.0 if switches == 0 else wall - (after - before))
        if wrong:
            stage.failures.append(f"reader saw fault {wrong}")

    started = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    started.wait()
    try:
        stage.write()
        stage.graph.start_day(DAY + 1)
        stage.graph.seal(DAY, stage.truth).result()
    finally:
        stage.progress[STOP] = 1
        reader.join()
        stage.graph.close()
    assert stage.failures == []
    assert slept[0] < 0.001


def _voluntary() -> int:
    """How often this thread went to sleep of its own accord: a lock, a page from the disk, the interpreter's turn."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _scheduled() -> float:
    """Seconds in which this thread ran, or wanted to and had no processor."""
    ran, waited = Path("/proc/thread-self/schedstat").read_text().split()[:2]
    return (int(ran) + int(waited)) / 1e9
