"""A sidecar of the format before (in tests/store/previous.tar.xz): it answers, changes, and is written again."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feedgen.core.ids import US_PER_DAY, tick_us
from feedgen.graph.archive import Archive
from feedgen.graph.check import check_sidecars
from feedgen.graph.graph import Graph
from feedgen.graph.layout import BEFORE_US, FORMAT, OFFSET_BITS, WHOLE_FORMAT
from feedgen.graph.sealed import SealedDay
from feedgen.store.folder import Folder
from feedgen.store.reader import DayReader
from tests.graph.model import MemoryDay

PREVIOUS = Path(__file__).parent.parent / "store" / "previous.tar.xz"
DAY = 20_001
SLOT = DAY % 256 << 24


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    with tarfile.open(PREVIOUS) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "data"


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is built again."""
    with monkeypatch.context() as patched:
        patched.setattr(Graph, "_renew", lambda graph, days: None)
        yield


def sealed(archive: Archive) -> SealedDay:
    (day,) = (each for each in archive.graph._days.values() if isinstance(each, SealedDay))
    return day


def says_what_the_rows_say(archive: Archive) -> None:
    day = sealed(archive)
    view, base = archive.graph.view(), day.day * US_PER_DAY
    with DayReader(day.path.with_suffix(".db")) as reader:
        rows, posts = reader.ratings(), reader.posts()
    for person in np.unique(rows.actor).tolist():
        liked, times_us = view.likes_of(person, 1_000)
        here = (times_us >= base) & (times_us < base + US_PER_DAY)
        assert set(liked[here].tolist()) == set(rows.post[rows.actor == person].tolist())
    for post in np.unique(rows.post).tolist():
        people, times_us = view.likers_of(post, 1_000)
        here = (times_us >= base) & (times_us < base + US_PER_DAY)
        assert set(people[here].tolist()) == set(rows.actor[rows.post == post].tolist())
    for i, post in enumerate(posts.post.tolist()):
        facts = view.post(post)
        assert facts is not None
        assert (facts.author, facts.key, facts.flags) == (posts.author[i], posts.key[i], posts.flags[i])
        assert facts.time_us == tick_us(day.day, int(posts.tick[i]))
        assert view.find_posts([facts.author], [facts.key]).tolist() == [post]


@pytest.mark.usefixtures("waiting")
def test_the_format_before_answers_and_changes(previous: Path) -> None:
    with Archive(previous, 120) as archive:
        assert sealed(archive).format == WHOLE_FORMAT
        says_what_the_rows_say(archive)
        with DayReader(sealed(archive).path.with_suffix(".db")) as reader:
            rows = reader.ratings()
        actor, post = int(rows.actor[0]), int(rows.post[0])
        assert archive.graph.remove_rating(sealed(archive).day, actor, post)
        assert actor not in archive.graph.view().likers_of(post, 1_000)[0]
        assert archive.graph.erase_person(int(rows.actor[-1])) > 0
        assert sealed(archive).verify() == []
    with Folder(previous) as folder:
        assert "says something else" in "".join(problem.what for problem in check_sidecars(folder))


def test_the_format_before_is_written_again_behind_the_answers(previous: Path) -> None:
    with Folder(previous) as folder:
        assert list(check_sidecars(folder)) == []
    with Archive(previous, 120) as archive:
        before = archive.graph.view()
        archive.graph.wait()
        assert before.arrays.person_ratings is archive.graph.view().arrays.person_ratings
        assert sealed(archive).format == FORMAT
        says_what_the_rows_say(archive)
        assert archive.graph.view().arrays.person_ratings[:100].sum() > 0
    with Folder(previous) as folder:
        assert list(check_sidecars(folder)) == []
    with Archive(previous, 120) as archive:
        assert sealed(archive).format == FORMAT
        says_what_the_rows_say(archive)


def test_keys_that_fit_and_keys_that_do_not(tmp_path: Path) -> None:
    """Around both ends of what a word can say, more clock ids than the dictionary has, and odd keys."""
    rng, rows = np.random.default_rng(1), {}
    offsets = (
        -BEFORE_US - 1,
        -BEFORE_US,
        0,
        (1 << OFFSET_BITS) - BEFORE_US - 1,
        (1 << OFFSET_BITS) - BEFORE_US,
        10**12,
    )
    for n in range(3_000):
        tick = int(rng.integers(0, 65_536))
        key = tick_us(DAY, tick) + offsets[n % len(offsets)] << 10 | int(rng.integers(0, 1024))
        rows[SLOT | n] = (
            int(rng.integers(0, 50)),
            -int(rng.integers(1, 1 << 62)) if n % 50 == 0 else key,
            tick,
            1,
            2,
            3,
        )
    graph = Graph(tmp_path)
    graph.load([MemoryDay(DAY, True, [(7, SLOT | 1, 5)], rows)], None)
    graph.wait()
    for n, row in rows.items():
        facts = graph.view().post(n)
        assert facts is not None and (facts.author, facts.key) == row[:2]
    posts = list(rows)
    assert graph.find_posts([rows[n][0] for n in posts], [rows[n][1] for n in posts]).tolist() == posts
    far = sealed_day(graph).size("far_keys")
    assert 1_000 < far < 3_000
    for person in range(50):
        graph.erase_person(person)
    for n in posts:
        facts = graph.view().post(n)
        assert facts is not None and facts.key == 0
    assert not sealed_day(graph).numbers("far_keys").any()
    assert sealed_day(graph).verify() == []
    graph.close()


def sealed_day(graph: Graph) -> SealedDay:
    day = graph._days[DAY]
    assert isinstance(day, SealedDay)
    return day
