"""The store as a whole against the model, through stops, seals and years of silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feedgen.core.errors import SettingsError, StoreError
from feedgen.core.ids import NO_POST, US_PER_DAY, make_tid, tid_to_int
from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import KNOWN
from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.reader import DayReader
from feedgen.store.retention import MAX_RETENTION_DAYS, expired
from feedgen.store.rows import FollowRows, PostRows, RatingRows, Rows, encode_ratings
from feedgen.store.uris import pack_plc
from feedgen.store.writer import POST, Writer
from tests.store.world import FIRST_DAY, Recorder, dump, expected, make_events

NOON = FIRST_DAY * US_PER_DAY + US_PER_DAY // 2
SLOT = FIRST_DAY % 256 << 24


class Store:
    def __init__(self, path: Path) -> None:
        self.folder = Folder(path)
        self.names = Names(self.folder)
        self.writer = Writer(self.folder, self.names, erase_after_us=0)
        self.seq = 0

    def close(self) -> None:
        self.writer.close()
        self.names.close()
        self.folder.close()

    def commit(self, time_us: int = NOON) -> None:
        self.seq += 1
        self.writer.commit(Cursor("host", self.seq, time_us))

    def people(self, count: int) -> list[int]:
        dids = ["did:plc:" + "a" * 20 + f"{i:04}".translate(str.maketrans("0189", "abcd")) for i in range(count)]
        return self.names.number(dids).tolist()  # type: ignore[no-any-return]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def ratings(*rows: tuple[int, int, int, int], time_us: int = NOON) -> Rows:
    """(actor, kind, key, post n)"""
    a, k, key, n = (np.array(c) for c in zip(*rows, strict=True))
    return Rows(
        RatingRows(
            a.astype(np.uint32),
            k.astype(np.uint8),
            key.astype(np.int64),
            (n | SLOT).astype(np.uint32),
            np.full(len(a), time_us, np.int64),
        )
    )


def post(
    n: int, author: int, key: int, flags: int = KNOWN, time_us: int = NOON, language: int = 3, about: int = NO_POST
) -> Rows:
    one = (n | SLOT, author, key, time_us, flags, language, about)
    return Rows(
        posts=PostRows(
            *(np.array([v], getattr(PostRows(), c).dtype) for v, c in zip(one, PostRows.__slots__, strict=True))
        )
    )


def has_rating(writer: Writer, actor: int, kind: int, key: int) -> bool:
    one = np.array([actor], np.uint32), np.array([kind], np.uint8), np.array([key], np.int64)
    return bool(writer.have_ratings(*one)[0])


def key_at(us: int, clock: int = 0) -> int:
    return tid_to_int(make_tid(us, clock))


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_model_through_stops_and_seals(seed: int, tmp_path: Path) -> None:
    events = make_events(seed, 1200)
    recorder = Recorder(tmp_path / "data", erase_after_us=0 if seed % 2 else 3 * 3600 * 10**6)
    for end in (400, 800, 1200):
        recorder.run([e for e in events if e.seq <= end])
        if seed % 3:
            recorder.close()
            recorder = Recorder(tmp_path / "data")
        for day in recorder.writer.days()[:-1]:
            if seed % 2 and not recorder.writer.is_sealed(day) and recorder.writer.day != day:
                recorder.writer.seal(day)
    recorder.writer.sweep()
    recorder.close()
    assert dump(tmp_path / "data") == expected(events)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_seal_takes_in_what_changes_while_it_is_written(seed: int, tmp_path: Path) -> None:
    events = make_events(seed, 1200)
    recorder = Recorder(tmp_path / "data")
    recorder.run([e for e in events if e.seq <= 420])  # well into the second day
    draft = recorder.writer.begin_seal(FIRST_DAY)
    draft.write()
    recorder.run([e for e in events if e.seq <= 800])
    recorder.writer.finish_seal(draft)
    assert recorder.writer.is_sealed(FIRST_DAY)
    recorder.run(events)
    recorder.close()
    assert dump(tmp_path / "data") == expected(events)


@pytest.mark.parametrize("sealed", [False, True])
def test_both_forms_say_the_same(sealed: bool, store: Store) -> None:
    writer, (a, b) = store.writer, store.people(2)
    keys = [key_at(NOON), key_at(NOON - 10**6, 3), key_at(NOON - 10**10), -7, key_at(NOON + 10**9)]
    writer.begin(FIRST_DAY)
    writer.add(ratings(*((a, i % 2, key, i) for i, key in enumerate(keys)), (b, 0, keys[0], 1)))
    writer.add(post(1, a, keys[0], flags=0))
    writer.add(Rows(follows=FollowRows(np.array([a, b], "u4"), np.array([keys[0], keys[2]]), np.array([b, a], "u4"))))
    store.commit()
    writer.begin(FIRST_DAY)
    writer.add(post(1, a, keys[0], flags=KNOWN | 2, language=5, about=SLOT | 9))
    assert writer.remove_rating(a, 1, keys[1]) == [(FIRST_DAY, SLOT | 1)]
    store.commit()
    if sealed:
        writer.begin(FIRST_DAY + 1)
        store.commit(NOON + US_PER_DAY)
        writer.seal(FIRST_DAY)
    path = store.folder.day_path(FIRST_DAY)
    assert path is not None
    with DayReader(path) as reader:
        assert reader.sealed is sealed and reader.day == FIRST_DAY
        assert reader.cursor == Cursor("host", 2, NOON)
        r = reader.ratings(keys=True)
        assert sorted(
            zip(r.actor.tolist(), r.kind.tolist(), r.key.tolist(), (r.post & 0xFFFFFF).tolist(), strict=True)
        ) == sorted([(a, 0, keys[0], 0), (a, 0, keys[2], 2), (a, 1, -7, 3), (a, 0, keys[4], 4), (b, 0, keys[0], 1)])
        assert set(r.tick.tolist()) == {32768}
        p = reader.posts()
        assert [c.tolist() for c in (p.post, p.author, p.key, p.flags, p.language, p.about)] == [
            [SLOT | 1], [a], [keys[0]], [KNOWN | 2], [5], [SLOT | 9],
        ]  # fmt: skip
        f = reader.follows()
        assert sorted(zip(f.actor.tolist(), f.key.tolist(), f.subject.tolist(), strict=True)) == [
            (a, keys[0], b),
            (b, keys[2], a),
        ]
    writer.begin(FIRST_DAY + 1)
    assert (
        has_rating(writer, a, 0, keys[2])
        and not has_rating(writer, a, 1, keys[1])
        and not has_rating(writer, b, 0, keys[2])
    )
    assert writer.has_other_rating(FIRST_DAY, a, SLOT | 2) and not writer.has_other_rating(FIRST_DAY, b, SLOT | 2)
    assert writer.remove_follow(b, keys[2]) == [(FIRST_DAY, a)] and writer.remove_follow(b, keys[2]) == []
    for kind, key, n in ((0, keys[2], 2), (1, -7, 3), (0, keys[4], 4)):
        assert writer.remove_rating(a, kind, key) == [(FIRST_DAY, SLOT | n)]
        assert not has_rating(writer, a, kind, key)
    store.commit(NOON + US_PER_DAY)
    assert writer.remove_rating(a, 0, keys[2]) == []
    store.close()


def test_a_create_that_comes_after_its_delete_is_known(store: Store) -> None:
    writer, (a, b) = store.writer, store.people(2)
    writer.begin(FIRST_DAY)
    store.commit()
    writer.begin(FIRST_DAY)
    assert writer.remove_rating(a, 0, key_at(NOON)) == []
    writer.bury(b, POST, -5)
    store.commit()
    store.close()
    store = Store(store.folder.path)  # also after a restart
    actors, keys = np.array([a, b], np.uint32), np.array([key_at(NOON), key_at(NOON)])
    buried = store.writer.buried(actors, 0, keys)
    assert buried is not None and buried.tolist() == [True, False]
    assert store.writer.buried(actors, POST, np.array([-4, -5])).tolist() == [False, True]  # type: ignore[union-attr]
    store.writer.begin(FIRST_DAY)
    store.commit(NOON + 2 * 3600 * 10**6)
    assert store.writer.buried(actors, 0, keys) is None  # an hour is over
    store.close()


def test_a_rollback_forgets_the_batch(store: Store) -> None:
    writer, (a,) = store.writer, store.people(1)
    writer.begin(FIRST_DAY)
    writer.add(ratings((a, 0, key_at(NOON), 1)))
    store.commit()
    writer.begin(FIRST_DAY)
    assert writer.remove_rating(a, 0, key_at(NOON))
    writer.add(ratings((a, 1, key_at(NOON), 2)))
    writer.begin(FIRST_DAY)  # again, from the start
    assert has_rating(writer, a, 0, key_at(NOON)) and not has_rating(writer, a, 1, key_at(NOON))
    store.close()


def test_a_deleted_account_leaves_no_byte(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    writer = store.writer
    did = "did:plc:" + "zyx" * 8
    (n,) = store.names.number([did]).tolist()
    odd_text = "a-rather-odd-key"
    for day in (FIRST_DAY, FIRST_DAY + 1):
        writer.begin(day)
        rows = ratings((n, 0, key_at(NOON), 1), (n, 0, -99, 2), time_us=day * US_PER_DAY)
        rows.odd_keys = [(n, -99, odd_text)]
        writer.add(rows)
        store.commit(day * US_PER_DAY)
    writer.seal(FIRST_DAY)
    store.names.save_index()
    writer.begin(FIRST_DAY + 1)
    writer.erase_person(n)
    writer.erase_person(n)  # deleted twice
    store.commit((FIRST_DAY + 1) * US_PER_DAY)
    assert store.names.find(did) is None and store.names.did(n) is None
    assert store.names.number([did]).tolist() == [n + 1]  # it comes back, as somebody else
    high, low = pack_plc(did) or (0, 0)
    traces = [did.encode(), odd_text.encode(), high.to_bytes(8, "little"), low.to_bytes(7, "little"), _packed_rating(n)]
    writer.rollback()
    store.writer.close()
    assert store.names.erasing() == []
    store.names.close()
    for path in sorted((tmp_path / "data").rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            assert not [trace for trace in traces if trace in data], path
    store.folder.close()


def _packed_rating(n: int) -> bytes:
    """What a log says of the first rating above."""
    rows = ratings((n, 0, key_at(NOON), 1)).ratings
    return encode_ratings(FIRST_DAY, rows)[0].tobytes()


def test_retention_after_a_long_stop(store: Store) -> None:
    for day in range(FIRST_DAY, FIRST_DAY + 4):
        store.writer.begin(day)
        store.commit(day * US_PER_DAY)
    with pytest.raises(StoreError, match="too far"):
        store.writer.begin(FIRST_DAY + 256)
    for today, kept, gone in ((FIRST_DAY + 103, 101, [0, 1, 2]), (FIRST_DAY + 400, 90, [3])):
        assert expired(store.writer.days(), today, kept) == [FIRST_DAY + n for n in gone]
        for n in gone:
            store.writer.drop(FIRST_DAY + n)
    assert [p.name for p in store.folder.days_path.iterdir()] == ["open.sql"]
    assert store.writer.begin(FIRST_DAY + 400) == FIRST_DAY + 400
    store.commit((FIRST_DAY + 400) * US_PER_DAY)
    store.close()


def test_retention_says_what_is_possible() -> None:
    assert expired([1, 2, 3, 50], 50, 48) == [1, 2]
    for days in (0, MAX_RETENTION_DAYS + 1):
        with pytest.raises(SettingsError, match="impossible"):
            expired([1], 2, days)


def test_events_of_yesterday_go_to_yesterday_until_it_is_sealed(store: Store) -> None:
    writer = store.writer
    writer.begin(FIRST_DAY)
    store.commit(NOON)
    writer.begin(FIRST_DAY + 1)
    store.commit(NOON + US_PER_DAY)
    assert writer.begin(FIRST_DAY) == FIRST_DAY
    store.commit(NOON + 5)
    assert writer.cursor() == Cursor("host", 3, NOON + 5)
    assert writer.high_water_us() == NOON + US_PER_DAY
    store.close()
    store = Store(store.folder.path)
    assert store.writer.cursor() == Cursor("host", 3, NOON + 5)
    store.writer.begin(FIRST_DAY + 1)
    draft = store.writer.begin_seal(FIRST_DAY)
    assert store.writer.begin(FIRST_DAY) == FIRST_DAY + 1
    draft.write()
    store.writer.finish_seal(draft)
    assert store.writer.begin(FIRST_DAY) == FIRST_DAY + 1
    store.close()


def test_a_reader_cannot_write(store: Store) -> None:
    store.writer.begin(FIRST_DAY)
    store.commit()
    with DayReader(store.folder.open_path(FIRST_DAY)) as reader:
        import apsw

        with pytest.raises(apsw.ReadOnlyError):
            reader._db.execute("DELETE FROM log")
    store.close()


def test_a_second_process_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match=r"another process \(pid \d+\)"):
        Folder(store.folder.path)
    store.close()
    Folder(store.folder.path).close()


def test_a_seal_keeps_removals_though_the_erased_were_never_there(store: Store) -> None:
    """Catching up and erasing share one file; that nobody was erased must not undo what was caught up."""
    writer = store.writer
    liker, stranger = store.people(2)
    writer.begin(FIRST_DAY)
    writer.add(ratings((liker, 0, key_at(NOON), 1)))
    store.commit()
    writer.begin(FIRST_DAY + 1)
    store.commit(NOON + US_PER_DAY)
    draft = writer.begin_seal(FIRST_DAY)
    draft.write()
    writer.begin(FIRST_DAY + 1)
    assert writer.remove_rating(liker, 0, key_at(NOON)) == [(FIRST_DAY, 1 | SLOT)]
    writer.erase_person(stranger)
    store.commit(NOON + US_PER_DAY + 1)
    writer.finish_seal(draft)
    assert not has_rating(writer, liker, 0, key_at(NOON))
    store.close()
