"""Sidecars that are missing, cut short, flipped, foreign or doubtful: noticed, built anew from the truth, reported."""

from __future__ import annotations

import errno
import logging
import mmap
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from feedgen.core.ids import NO_PERSON, NO_POST, US_PER_DAY
from feedgen.graph import edit, sealed
from feedgen.graph.access import U16, U32, Arrays, mix32
from feedgen.graph.build import build, put_in_place
from feedgen.graph.graph import COUNTED_FIRST, Graph, LoadReport
from feedgen.graph.layout import HEADER_BYTES, PAGE, SECTIONS, STAMP_AT
from feedgen.graph.sealed import Damaged, SealedDay
from tests.graph.model import MemoryDay

DAY = 20_001
SLOT = DAY % 256 << 24
IDENTITY = 12_345


def truth(day: int = DAY) -> MemoryDay:
    """A day with something in every section."""
    rng = np.random.default_rng(day)
    slot, before = day % 256 << 24, (day - 1) % 256 << 24
    rated = [
        (int(rng.integers(100, 160)), int(rng.choice([slot, before])) | int(rng.integers(0, 30)), i * 30)
        for i in range(900)
    ]
    rows = {
        slot | n: (
            200 + n % 9,
            (day * US_PER_DAY + n << 10) + (US_PER_DAY << 10) * (n % 10 == 0),
            n,
            3,
            2,
            slot | n // 2,
        )
        for n in range(40)
    }
    followed = [(int(rng.integers(100, 160)), int(rng.integers(100, 160))) for _ in range(60)]
    return MemoryDay(day, True, rated, rows, followed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph = Graph(tmp_path, IDENTITY)
    put_in_place(build(graph.path_of(DAY), truth(), IDENTITY), graph.path_of(DAY))
    graph.close()
    return tmp_path


def sidecar(folder: Path) -> Path:
    (path,) = folder.glob("*.idx")
    return path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def load(folder: Path) -> tuple[Graph, LoadReport]:
    graph = Graph(folder, IDENTITY)
    report = graph.load([truth()], None)
    graph.wait()
    return graph, report


def assert_right(graph: Graph) -> None:
    day = truth()
    view = graph.view()
    for post in {row[1] for row in day.rated}:
        assert view.likers_of(post, 1000)[0].tolist() == [who for who, _ in day.likers(post)]
    for n, row in day.rows.items():
        facts = view.post(n)
        assert facts is not None
        assert (facts.author, facts.key, facts.flags, facts.language, facts.about) == (*row[:2], *row[3:])
        assert facts.count == len(day.likers(n))
    for person in range(100, 160):
        assert view.likes_of(person, 1000)[0].tolist() == [post for post, _ in day.likes(person)]
        assert view.follows_of(person).tolist() == day.follows_of(person)
        assert view.arrays.person_ratings[person] == len(day.likes(person))
    assert SealedDay(sidecar(graph.folder), DAY, IDENTITY).verify() == []


def test_a_sound_sidecar_is_taken_as_it_is(folder: Path) -> None:
    before = sidecar(folder).read_bytes()
    graph, report = load(folder)
    assert report == LoadReport(mapped=[DAY])
    assert_right(graph)
    graph.close()
    assert sidecar(folder).read_bytes() == before


def _missing(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _header_flipped(path: Path) -> None:
    flip(path, 30)


def _other_day(path: Path) -> None:
    put_in_place(build(path, truth(DAY + 1), IDENTITY), path)


def _other_folder(path: Path) -> None:
    put_in_place(build(path, truth(), IDENTITY + 1), path)


def _other_format(path: Path) -> None:
    path.write_bytes(b"GIF89a" * 10_000)


BREAKAGES = (_missing, _empty, _truncated, _longer, _header_flipped, _other_day, _other_folder, _other_format)


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_what_can_not_be_used_is_built_anew_before_anybody_asks(
    folder: Path, breakage: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(breakage)
    breakage(sidecar(folder))
    graph, report = load(folder)
    assert report.mapped == []
    assert list(report.rebuilt) == [DAY]
    assert "built anew" in caplog.text
    assert_right(graph)
    graph.close()


# Ratings carry their ticks.
KEPT = [name for name, _ in SECTIONS if name not in ("liker_ticks", "like_ticks")]


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_flipped_bit_in_any_section_is_found_and_mended(
    folder: Path, name: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    day = SealedDay(sidecar(folder), DAY, IDENTITY)
    start, length = day._places[name]
    size = length * day._types[name].itemsize
    day.close()
    assert size > 0
    flip(sidecar(folder), start + {"first": 0, "middle": size // 2, "last": size - 1}[where])
    graph, report = load(folder)
    assert report.mapped == [DAY]  # a look at the header finds nothing wrong
    assert name in "".join(str(getattr(record, "reason", "")) for record in caplog.records)
    assert_right(graph)
    graph.close()


def test_a_flipped_checksum_and_a_flipped_stamp_are_found(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for at in (PAGE + 8, STAMP_AT):
        caplog.clear()
        flip(sidecar(folder), at)
        graph, _ = load(folder)
        assert "built anew" in caplog.text
        assert_right(graph)
        graph.close()


def test_no_wrong_bit_makes_compiled_code_read_elsewhere(folder: Path) -> None:
    """Before a sidecar is verified it answers already, so any bits at all must be safe to read, whatever they say."""
    path = sidecar(folder)
    good = path.read_bytes()
    rng = np.random.default_rng(5)
    for fill in (b"\xff", b"\x00", None):
        data = bytearray(good)
        size = len(data) - HEADER_BYTES
        data[HEADER_BYTES:] = rng.bytes(size) if fill is None else fill * size
        path.write_bytes(data)
        graph = Graph(folder, IDENTITY)
        graph._map(truth(), LoadReport())
        graph._publish()
        view = graph.view()
        for n in range(60):
            view.likers_of(SLOT | n, 50)
            view.likers_of((DAY - 1) % 256 << 24 | n, 50)
            view.likes_of(100 + n, 50)
            view.follows_of(100 + n)
            view.find_posts([200 + n], [DAY * US_PER_DAY + n << 10])
            view.post(SLOT | n)
        graph._count(DAY)
        graph.remove_rating(DAY, 101, SLOT | 1)
        graph.erase_person(102)
        graph.close()


def test_a_machine_that_stopped_between_a_change_and_the_disk_casts_doubt(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, _ = load(folder)
    actor, post = truth().rated[0][:2]
    assert graph.remove_rating(DAY, actor, post)
    kept = sidecar(folder).read_bytes()  # as after a power cut: the stamp was synced before the change
    graph.close()
    for boot, doubtful in ((b"another boot".ljust(36), [DAY]), (sealed.boot_id(), [])):
        sidecar(folder).write_bytes(kept)
        monkeypatch.setattr(sealed, "boot_id", lambda boot=boot: boot)
        graph, report = load(folder)
        assert report.doubtful == doubtful
        graph.close()


def test_flushing_and_closing_leave_no_doubt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = load(folder)
    assert graph.remove_rating(DAY, *truth().rated[0][:2])
    graph.flush()
    assert not SealedDay(sidecar(folder), DAY, IDENTITY).stamped_before()
    assert graph.remove_rating(DAY, *truth().rated[-1][:2])
    monkeypatch.setattr(sealed, "boot_id", lambda: b"another boot".ljust(36))
    assert SealedDay(sidecar(folder), DAY, IDENTITY).stamped_before()
    graph.close()
    assert not SealedDay(sidecar(folder), DAY, IDENTITY).stamped_before()


def test_an_erased_person_is_nowhere_in_the_file(folder: Path) -> None:
    """Neither as a number nor as the hashed number that lists are found by."""
    day = truth()
    day.rated += [(0xABCDEF, SLOT | n, 30_000) for n in range(20)]
    day.followed += [(0xABCDEF, 120), (0xABCDEF, 121)]
    day.rows[SLOT | 40] = (0xABCDEF, (DAY * US_PER_DAY + 77) << 10, 5, 1, 1, NO_POST)
    path = sidecar(folder)
    put_in_place(build(path, day, IDENTITY), path)
    names = [number.to_bytes(4, "little") for number in (0xABCDEF, mix32(0xABCDEF))]
    assert all(name in path.read_bytes() for name in names)
    graph, _ = load(folder)
    assert graph.erase_person(0xABCDEF) == 23
    facts = graph.view().post(SLOT | 40)
    graph.close()
    assert facts is not None
    assert (facts.author, facts.key, facts.time_us) == (NO_PERSON, 0, DAY * US_PER_DAY)
    assert not any(name in path.read_bytes() for name in names)
    graph, _ = load(folder)
    assert_right(graph)
    graph.close()


def test_drafts_and_sidecars_of_forgotten_days_are_cleared_away(folder: Path) -> None:
    (folder / "2024-01-01.draft").write_bytes(b"half of it")
    (folder / "2023-01-01.idx").write_bytes(b"too old")
    (folder / "somebody-elses.file").write_bytes(b"not ours")
    graph, _ = load(folder)
    graph.close()
    assert sorted(path.name for path in folder.iterdir()) == [sidecar(folder).name, "somebody-elses.file"]


def test_a_build_that_fails_leaves_the_day_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(tmp_path, IDENTITY)
    graph.start_day(DAY)
    graph.add_posts([SLOT], [9], [DAY << 10], [0], [1], [0], [NO_POST])
    graph.add_ratings([1, 2], [SLOT, SLOT], [1, 2])

    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        graph.seal(DAY, truth()).result()
    assert list(tmp_path.iterdir()) == []
    assert graph.remove_rating(DAY, 1, SLOT)
    assert graph.view().likers_of(SLOT, 10)[0].tolist() == [2]
    monkeypatch.undo()
    graph.seal(DAY, truth()).result()
    assert isinstance(graph._days[DAY], SealedDay)
    graph.close()


def test_too_many_changes_while_building_begin_the_build_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(tmp_path, IDENTITY)
    graph.start_day(DAY)
    day = truth()
    monkeypatch.setattr("feedgen.graph.meanwhile.MAX_MISSED", 3)
    graph.add_posts(*day.posts())
    graph.add_ratings(*day.ratings())
    builds = []

    class Changing(MemoryDay):
        def follows(self) -> tuple[np.ndarray, np.ndarray]:
            builds.append(1)
            if len(builds) == 1:
                for actor, post in sorted({row[:2] for row in self.rated})[:10]:
                    self.remove_rating(actor, post)
                    graph.remove_rating(DAY, actor, post)
            return super().follows()

    source = Changing(DAY, True, list(day.rated), day.rows, day.followed)
    graph.seal(DAY, source).result()
    assert len(builds) == 2
    for post in {row[1] for row in day.rated}:
        assert graph.view().likers_of(post, 1000)[0].tolist() == [who for who, _ in source.likers(post)]
    graph.close()


def test_a_file_that_is_no_sidecar_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "x.idx").write_bytes(b"\n" * 20_000)
    with pytest.raises(Damaged, match=r"x\.idx has a damaged header"):
        SealedDay(tmp_path / "x.idx", DAY, IDENTITY)


def test_logs_name_no_person(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    _missing(sidecar(folder))
    load(folder)[0].close()
    assert [record.levelname for record in caplog.records if record.name.startswith("feedgen")] == ["WARNING"]


class SlowDay(MemoryDay):
    """Its ratings are read when it is told to."""

    def __init__(self, day: int) -> None:
        super().__init__(day, rated=[(100, day % 256 << 24, 1)])
        self.asked, self.go = threading.Event(), threading.Event()

    def ratings(self) -> tuple[U32, U32, U16]:
        self.asked.set()
        assert self.go.wait(60)
        return super().ratings()


def test_older_days_are_counted_after_today_is_replayed(tmp_path: Path) -> None:
    graph, today, past = Graph(tmp_path, IDENTITY), SlowDay(DAY), range(DAY - COUNTED_FIRST - 2, DAY)
    with ThreadPoolExecutor(1) as other:
        replayed = other.submit(graph.replay, today)
        assert today.asked.wait(60)
        graph.load([truth(day) for day in past], None)
        until = time.monotonic() + 60
        while not all(graph._days[day].counted for day in past[-COUNTED_FIRST:]) and time.monotonic() < until:
            time.sleep(0.01)
        counted = [graph._days[day].counted for day in past]
        today.go.set()
        assert replayed.result()
    assert counted == [False, False, True, True]
    graph.wait()
    assert all(graph._days[day].counted for day in past)
    person = 120
    found = sum(len({post for who, post, _ in truth(day).rated if who == person}) for day in past)
    assert graph.view().arrays.person_ratings[person] == found > 0
    graph.close()


def test_what_was_verified_is_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.idx"
    many = MemoryDay(DAY, True, [(actor, SLOT | actor % 9, actor) for actor in range(50_000)])
    put_in_place(build(path, many, IDENTITY), path)
    day = SealedDay(path, DAY, IDENTITY)
    assert int(day._whole.sum()) > 0  # all of it was touched
    assert resident_bytes(path) >= day.file_bytes
    assert day.verify() == []
    assert resident_bytes(path) < day.file_bytes / 2  # the kernel maps a little more than what is asked for
    day.close()


def resident_bytes(path: Path) -> int:
    """How much of a mapped file this process holds, as the kernel counts."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name = line.split(maxsplit=1)[0]
        if not name.endswith(":"):
            ours = line.endswith(str(path))
        elif ours and name == "Rss:":
            total += int(line.split()[1]) * 1024
    return total


class _LargePages:
    """A map on a machine with 16 kB pages: its kernel refuses what does not begin at one."""

    def __init__(self, area: mmap.mmap) -> None:
        self._area, self.let_go = area, 0

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        assert option == mmap.MADV_DONTNEED
        if start % 16384:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.let_go += length

    def close(self) -> None:
        self._area.close()


def test_a_machine_with_large_pages_verifies_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "PAGESIZE", 16384)
    day = SealedDay(sidecar(folder), DAY, IDENTITY)
    area = day._map = _LargePages(day._map)  # type: ignore[assignment]
    assert day.verify() == []
    assert area.let_go >= day.file_bytes - HEADER_BYTES - len(SECTIONS) * 64
    day.close()


def test_a_day_that_is_dropped_while_it_is_verified_harms_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph(folder, IDENTITY)
    graph.load([truth()], None)
    graph.wait()
    day = graph._days[DAY]
    assert isinstance(day, SealedDay)
    sums = sealed.sum_words

    def drop_meanwhile(words: object, first: int) -> int:
        if graph.days:
            graph.drop(DAY)
            day.close()  # as the janitor does when the last View is gone
        return int(sums(words, first))

    monkeypatch.setattr(sealed, "sum_words", drop_meanwhile)
    graph._mind({DAY: truth()})
    assert graph.days == []
    graph._mind({DAY: truth()})  # and afterwards
    graph.close()


def test_background_work_that_dies_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one who listens from the start, and by one who comes late."""
    graph = Graph(folder, IDENTITY)
    heard: list[BaseException] = []
    graph.watch.listen(heard.append)

    def die(*_: object) -> None:
        raise ZeroDivisionError("a mistake in the program")

    monkeypatch.setattr(SealedDay, "verify", die)
    graph.load([truth()], None)
    with pytest.raises(ZeroDivisionError):
        graph.wait()
    graph.watch.listen(heard.append)
    assert [str(one) for one in heard] == ["a mistake in the program"] * 2
    graph.close()


@pytest.mark.parametrize(("error", "noticed"), [(OSError(28, "full"), False), (ZeroDivisionError(), True)])
def test_a_full_disk_is_no_mistake_of_the_program(
    error: Exception, noticed: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise error

    graph, _ = load(folder)
    monkeypatch.setattr("feedgen.graph.graph.build", refuse)
    with pytest.raises(type(error)):
        graph.seal(DAY, truth()).result()
    assert (graph.watch.failure is error) == noticed
    graph.close()


def stamped(graph: Graph) -> bool:
    day = graph._days[DAY]
    assert isinstance(day, SealedDay)
    return day.stamped


def test_what_changes_nothing_leaves_no_doubt(folder: Path) -> None:
    """Else one deletion of somebody without a record had every day built again after a power cut."""
    graph, _ = load(folder)
    actor, post = truth().rated[0][:2]
    graph.erase_person(99)
    graph.remove_rating(DAY, 99, post)
    graph.remove_rating(DAY, actor, SLOT | 39)
    graph.remove_follow(DAY, 99, 100)
    graph.mark_posts([SLOT | 3], int(truth().rows[SLOT | 3][3]), True)
    graph.agrees(DAY, 0)
    assert not stamped(graph)
    graph.mark_posts([SLOT | 3], 128, True)
    assert stamped(graph)
    graph.close()


def test_changes_reach_the_disk_now_and_then(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedgen.graph.graph.FLUSH_EVERY_S", 0.01)
    graph, _ = load(folder)
    assert graph.remove_rating(DAY, *truth().rated[0][:2])
    until = time.monotonic() + 60
    while stamped(graph) and time.monotonic() < until:
        time.sleep(0.01)
    assert not stamped(graph)
    graph.close()


def test_a_doubtful_day_answers_and_changes_while_it_is_built_again_and_no_other_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [truth(day) for day in range(DAY - 3, DAY + 1)]
    graph = Graph(tmp_path, IDENTITY)
    graph.load(days, None)
    graph.wait()
    wanted = graph.view().arrays.person_ratings[:200].tolist()
    likers = graph.view().likers_of(SLOT | 1, 1000)[0].tolist()
    counted: list[int] = []
    recount_day = edit.recount_day

    def counting(a: Arrays, d: int, b: Arrays, e: int) -> int:
        counted.append(int(a.day_numbers[d]))
        return int(recount_day(a, d, b, e))

    monkeypatch.setattr(edit, "recount_day", counting)
    monkeypatch.setattr(edit, "count_day", None)
    slow = SlowDay(DAY)
    slow.rated, slow.rows, slow.followed, slow.sealed = days[-1].rated, days[-1].rows, days[-1].followed, True
    graph._rebuild_later(DAY, slow)
    assert slow.asked.wait(60)
    assert graph.view().likers_of(SLOT | 1, 1000)[0].tolist() == likers
    assert graph.remove_rating(DAY, likers[0], SLOT | 1)
    slow.go.set()
    graph.wait()
    assert counted == [DAY]
    wanted[likers[0]] -= 1
    assert graph.view().arrays.person_ratings[:200].tolist() == wanted
    facts = graph.view().post(SLOT | 1)
    assert facts is not None and facts.count == len(likers) - 1
    assert graph.view().likers_of(SLOT | 1, 1000)[0].tolist() == likers[1:]


def test_nobody_sees_sums_without_a_day_that_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(tmp_path, IDENTITY)
    graph.load([truth(DAY - 1), truth()], None)
    graph.wait()
    seen: list[tuple[list[int], int]] = []

    def look() -> None:
        view = graph.view()
        facts = view.post(SLOT | 1)
        assert facts is not None
        seen.append((view.arrays.person_ratings[:200].tolist(), facts.count))

    look()
    publish, count = graph._publish, graph._count
    monkeypatch.setattr(graph, "_publish", lambda: (publish(), look()))
    monkeypatch.setattr(graph, "_count", lambda day: (look(), count(day), look()))
    graph._rebuild(DAY, truth())
    assert len(seen) > 2 and all(each == seen[0] for each in seen)
    graph.close()


def test_a_file_that_was_counted_wrong_is_right_when_it_is_built_again(tmp_path: Path) -> None:
    """Faults and all: what the first file said too little or too much goes out of the sums."""
    graph = Graph(tmp_path, IDENTITY)
    wrong, right = truth(), truth()
    wrong.rated = [rating for rating in wrong.rated if rating[0] % 3] + [(170, SLOT | 2, 5), (171, SLOT - 1 << 24, 6)]
    put_in_place(build(graph.path_of(DAY), wrong, IDENTITY), graph.path_of(DAY))
    graph.load([right], None)
    graph.wait()
    before = graph.view().arrays.person_ratings[:200].copy()
    graph._rebuild(DAY, right)
    wanted = np.zeros(200, np.int64)
    for actor, _ in {(actor, post) for actor, post, _ in right.rated}:
        wanted[actor] += 1
    assert (before != wanted).any()
    assert graph.view().arrays.person_ratings[:200].tolist() == wanted.tolist()
    facts = graph.view().post(SLOT | 2)
    assert facts is not None and facts.count == len({a for a, post, _ in right.rated if post == SLOT | 2})
    graph.close()


@pytest.mark.parametrize("lost", [("likers", "own_holes", "old_holes"), ("likes", "people_holes")])
@pytest.mark.parametrize("erased", [False, True])
def test_a_removal_of_which_the_power_left_one_direction_is_counted_once(
    lost: tuple[str, ...], erased: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again, while the file that has half of it still answers."""
    actor, post, _ = truth().rated[0]
    right = truth()
    whole = sidecar(folder).read_bytes()
    graph, _ = load(folder)

    def remove(graph: Graph) -> None:
        if erased:
            graph.erase_person(actor)
        else:
            graph.remove_rating(DAY, actor, post)

    remove(graph)
    day = graph._days[DAY]
    assert isinstance(day, SealedDay)
    spans = [(start, start + size * day._types[name].itemsize) for name in lost for start, size in [day._places[name]]]
    graph.close()
    torn = bytearray(sidecar(folder).read_bytes())
    for start, end in spans:
        torn[start:end] = whole[start:end]
    sidecar(folder).write_bytes(torn)
    monkeypatch.setattr(SealedDay, "verify", lambda *_: [])  # it is not built again yet
    graph, _ = load(folder)
    remove(graph)
    if erased:
        right.erase_person(actor)
    else:
        right.remove_rating(actor, post)
    graph._rebuild(DAY, right)
    view = graph.view()
    for person in {who for who, _, _ in truth().rated} - ({actor} if erased else set()):
        assert view.arrays.person_ratings[person] == len(right.likes(person))
    for each in {which for _, which, _ in right.rated if which >> 24 == DAY % 256}:
        facts = view.post(each)
        assert facts is not None and facts.count == len(right.likers(each))
    graph.close()


@pytest.mark.parametrize("refused", [0, 1])
def test_a_flush_that_the_disk_refuses_is_no_end_of_stamps(
    refused: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the sync of the changes nor that of the stamp's end; the next change is stamped before it happens."""
    graph, _ = load(folder)
    (actor, post, _), (other, another, _) = truth().rated[:2]
    graph.remove_rating(DAY, actor, post)
    calls = 0

    def refuse_one(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls - 1 == refused:
            raise OSError(errno.EIO, "Input/output error")

    day = graph._days[DAY]
    assert isinstance(day, SealedDay)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse_one)
        day.flush()
    assert calls == refused + 1
    graph.remove_rating(DAY, other, another)
    assert sidecar(folder).read_bytes()[STAMP_AT : STAMP_AT + 36] == sealed.boot_id()
    graph.close()
