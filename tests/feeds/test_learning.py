"""What came of pages, read from a real `viewers.db`, held against counting them one by one."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from feedgen.core.errors import StoreError
from feedgen.feeds.contract import NOBODY
from feedgen.feeds.learning import LIKED, SEEN, Row, learn, path_of
from feedgen.feeds.trials import interval, sums_of
from feedgen.serve.readers.viewer import Shown
from feedgen.store.outcomes import Pages
from feedgen.store.pages import EVENT_NUMBERS, Outcome, ShownPage
from feedgen.store.viewers import Viewers

NOW_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000
NAMES = {"interactionSeen": "seen", "interactionLike": "liked", "requestLess": "less", "requestMore": "more"}
Case = tuple[int, int, int]  # reader, list, post


def made_up(seed: int, readers: int = 40) -> tuple[list[ShownPage], list[Outcome]]:
    """Readers who page, reload, come back to the same posts, and whose apps tell some of it."""
    chance = Random(seed)
    pages, outcomes, at_us = list[ShownPage](), list[Outcome](), NOW_US
    for _ in range(readers * 8):
        at_us += chance.randrange(1, MINUTE_US)
        reader = 5 + chance.randrange(readers) * ((1 << 64) // readers)
        mine = [page for page in pages if page.reader == reader]
        if not mine or chance.random() < 0.4:
            again = chance.choice(mine) if mine and chance.random() < 0.2 else None
            posts = again.posts if again else chance.sample(range(60), 8)
            list_us = again.list_us if again else at_us - 5
            arm = f"e/{'control' if reader % 2 else 'other'}"
            feed = chance.choice(["for-you", "popular"])
            page = ShownPage(at_us, reader, feed, "default", list_us, 0, posts, [p % 9 for p in posts], arm)
            pages.append(again._replace(at_us=at_us) if again else page)
        else:
            page, n = chance.choice(mine), chance.randrange(1, 6)
            posts = [*chance.sample(page.posts, n - 1), chance.randrange(60)]
            events = [chance.choice([*(EVENT_NUMBERS[name] for name in NAMES), 8]) for _ in posts]
            list_us = chance.choice([page.list_us, None, at_us - 99])
            outcomes.append(Outcome(at_us, reader, list_us, posts, events, [255] * n))
    return pages, outcomes


def counted(pages: list[ShownPage], outcomes: list[Outcome]) -> dict[Case, set[str]]:
    """One by one, as `feedgen viewer export` ties them."""
    done: dict[Case, set[str]] = {(p.reader, p.list_us, post): {"served"} for p in pages for post in p.posts}
    for one in outcomes:
        mine = [page for page in pages if page.reader == one.reader]
        for post, event in zip(one.posts, one.events, strict=True):
            page = Shown(mine).page(one, post)
            name = next((name for told, name in NAMES.items() if EVENT_NUMBERS[told] == event), None)
            if page is not None and name is not None:
                done[one.reader, page.list_us, post] |= {name, "seen"}
    return done


@pytest.mark.parametrize("seed", range(4))
async def test_counts_are_those_of_counting_one_by_one(seed: int, tmp_path: Path) -> None:
    pages, outcomes = made_up(seed)
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.pages.put(pages, outcomes)
        by_list = {(page.reader, page.list_us): page for page in pages}
        done = counted(pages, outcomes)
        store = Pages(tmp_path, 0)
        whole = learn(store, ["e/control", "e/other"])
        for feed in ("for-you", "popular"):
            mine = {case: names for case, names in done.items() if by_list[case[0], case[1]].feed == feed}
            cell = whole.rows[Row(feed, "default", "all")]
            expected = [sum(name in names for names in mine.values()) for name in ("served", *NAMES.values())]
            assert (cell.counts, cell.readers) == (expected, len({reader for reader, _, _ in mine}))
            popular = {case: names for case, names in mine.items() if case[2] % 9 == 0}
            assert whole.rows[Row(feed, "default", "popular")].counts[SEEN] == sum(
                "seen" in n for n in popular.values()
            )
        _rates_are_by_reader(whole.arms[1].cell.per_seen(LIKED), done, by_list)
        assert [arm.name for arm in whole.arms] == ["e/control", "e/other"] and whole.share == 1.0
        # Slices of readers add up to the same, and are a fair part of them when there is too much.
        store.slices = lambda: Pages.slices(store, pages_a_slice=20)  # type: ignore[method-assign]
        assert learn(store).rows == whole.rows
        some = learn(store, max_served=300)
        assert 0 < some.share < 1 and some.rows[Row("for-you", "default", "all")].readers < 40


def _rates_are_by_reader(found: object, done: dict[Case, set[str]], by_list: dict[tuple[int, int], ShownPage]) -> None:
    other = {case: names for case, names in done.items() if by_list[case[0], case[1]].arm == "e/other"}
    who = sorted({reader for reader, _, _ in other})
    counts = [
        [sum(name in names for (reader, _, _), names in other.items() if reader == one) for one in who]
        for name in ("seen", "liked")
    ]
    assert found == interval(sums_of(np.array(counts[0], float), np.array(counts[1], float)), 1000)


async def test_old_pages_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"viewers\.db"):
        Pages(tmp_path, 0)
    async with await Viewers.open(tmp_path) as viewers:
        empty = learn(Pages(tmp_path, 0), ["e/control", "e/other"])
        assert empty.rows == {} and [arm.against for arm in empty.arms] == [None, None]
        await viewers.pages.put([ShownPage(NOW_US, NOBODY, "popular", "default", NOW_US, 0, [1], [0])], [])
        assert learn(Pages(tmp_path, 0)).rows == {}  # all who are logged out are no reader
        await viewers.pages.put([ShownPage(NOW_US + 1, 5, "for-you", "default", NOW_US, 0, [1], [3])], [])
        assert learn(Pages(tmp_path, NOW_US + 2)).rows == {}
        assert set(learn(Pages(tmp_path, NOW_US)).rows) == {
            Row("for-you", "default", "all"),
            Row("for-you", "default", "1 person"),
        }


def test_paths_in_words() -> None:
    codes = {0: "popular", 1: "popular, no likes yet", 2: "follows", 3: "1 person", 4: "2 people", 5: "3-4 people"}
    assert {code: path_of("for-you", code) for code in codes} == codes
    assert path_of("videos-for-you", 21) == "10-19 people" and path_of("for-you", 22) == "20 people or more"
    assert (path_of("popular", 0), path_of("my-own", 4)) == ("popular", "2 people")
