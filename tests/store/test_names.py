from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.core.errors import StoreFull
from feedgen.core.ids import NO_PERSON, POST_NSID, int_to_tid, is_did, parse_at_uri, rkey_to_int
from feedgen.ingest.events import GONE, INACTIVE, OPTED_OUT
from feedgen.store import names as names_module
from feedgen.store.folder import Folder
from feedgen.store.names import REFUSED, Names
from feedgen.store.names_index import IndexDraft
from feedgen.store.uris import BAD, OTHER, PLC, VALID, pack_dids, pack_plc, parse_post_uris, spell_posts, unpack_plc
from tests.store.faulty import FaultyVfs, unique_name

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def make_dids(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return ["did:plc:" + "".join(rng.choices(LETTERS, k=24)) for _ in range(count)]


def opened(path: Path, vfs: str = "") -> Names:
    names = Names(Folder(path, vfs=vfs))
    return names


def close(names: Names) -> None:
    names.close()
    names.folder.close()


def test_numbers_are_given_in_order_and_last(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids = [*make_dids(3_000), "did:web:example.com", "did:plc:UPPER", "did:plc:" + "a" * 23]
    numbers = names.number(dids)
    assert sorted(numbers.tolist()) == list(range(3_003))
    assert numbers[:3_000].tolist() == list(range(3_000))
    assert names.number(dids).tolist() == numbers.tolist()
    names.flush()
    close(names)
    names = opened(tmp_path / "data")
    assert names.rebuilt == ""
    assert names.number(dids).tolist() == numbers.tolist()
    assert [names.did(n) for n in numbers.tolist()] == dids
    assert [names.find(did) for did in dids] == numbers.tolist()
    assert names.did(99_999) is None and names.did(-1) is None and names.find("did:plc:" + "z" * 24) is None
    close(names)


def test_words_are_whole(tmp_path: Path) -> None:
    """Every one of the 64 bits counts."""
    names = opened(tmp_path / "data")
    dids = make_dids(1_000)
    numbers = names.number([*dids, "did:web:example.com"])
    high, low = names.words(np.append(numbers, 99_999).astype(np.uint32))
    assert [unpack_plc(int(h), int(w)) for h, w in zip(high[:1_000], low[:1_000], strict=True)] == dids
    assert not (low[1_000:] & np.uint64(VALID)).any()
    close(names)


def test_what_is_no_did_has_no_number(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    good = make_dids(2)
    numbers = names.number([good[0], "", "alice.example.com", f"{good[1]}\n{good[1]}", good[1]])
    assert numbers.tolist() == [0, NO_PERSON, NO_PERSON, NO_PERSON, 1]
    close(names)


def test_a_number_that_was_never_flushed_is_given_again(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    first, second, third = make_dids(3)
    names.number([first])
    names.flush()
    names.number([second])
    close(names)
    names = opened(tmp_path / "data")
    assert names.number([third, second, first]).tolist() == [1, 2, 0]
    close(names)


def test_flags_and_erasing_last(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids = [*make_dids(5), "did:web:example.com"]
    names.number(dids)
    names.flush()
    names.save_index()
    names.set_flags(1, OPTED_OUT)
    names.set_flags(5, INACTIVE)
    names.erase(2)
    names.flush()
    names.erase(5)
    names.flush()
    close(names)
    names = opened(tmp_path / "data")
    assert names.rebuilt == ""
    assert names.flags[:6].tolist() == [0, OPTED_OUT, GONE, 0, 0, GONE]
    assert names.did(2) is None and names.find(dids[2]) is None and names.did(5) is None
    assert names.number([dids[2], dids[5]]).tolist() == [6, 7]
    assert names.erasing() == [2, 5]
    names.erased([2, 5])
    assert names.erasing() == []
    names.erase(2)  # again: nothing happens
    names.flush()
    assert names.erasing() == []
    close(names)


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "foreign"])
def test_a_damaged_index_is_noticed_and_made_again(damage: str, tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids = make_dids(500)
    names.number(dids)
    names.flush()
    close(names)
    path = tmp_path / "data/names.idx"
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-40])
    elif damage == "flipped":
        data[200] ^= 1
        path.write_bytes(data)
    else:
        other = opened(tmp_path / "other")
        other.number(make_dids(500, seed=2))
        other.flush()
        close(other)
        path.write_bytes((tmp_path / "other/names.idx").read_bytes())
    names = opened(tmp_path / "data")
    assert names.rebuilt.startswith("names.idx")
    assert names.number(dids).tolist() == list(range(500))
    close(names)
    names = opened(tmp_path / "data")
    assert names.rebuilt == ""
    close(names)


def test_people_after_the_index_was_saved_are_read_from_the_truth(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids = make_dids(300)
    names.number(dids[:200])
    names.flush()
    names.save_index()
    names.number(dids)
    names.flush()
    names._db.close()  # as a kill leaves it
    names.folder.close()
    names = opened(tmp_path / "data")
    assert names.rebuilt == "" and names.number(dids).tolist() == list(range(300))
    close(names)


def test_an_index_that_can_not_be_written_is_tried_again_when_many_more_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try writes all of it. Nothing of it happens in the writing thread, which only puts it in place."""
    tries: list[str] = []

    class Counted(IndexDraft):
        def _run(self) -> None:
            tries.append(threading.current_thread().name)
            super()._run()

    monkeypatch.setattr("feedgen.store.names.IndexDraft", Counted)
    monkeypatch.setattr("feedgen.store.names.SAVE_AFTER", 100)
    names = opened(tmp_path / "data")
    (tmp_path / "data/names.draft").mkdir()  # nothing can be written there
    dids = make_dids(350)
    for first in range(0, 350, 10):
        names.number(dids[: first + 10])
        names.flush()
    assert tries == ["names-index"] * 3
    (tmp_path / "data/names.draft").rmdir()
    names.erase(5)
    names.save_soon()
    names.erase(6)
    names.flush()
    close(names)
    names = opened(tmp_path / "data")
    assert names.rebuilt == "" and names.number(dids[7:]).tolist() == list(range(7, 350))
    assert names.did(5) is None and names.did(6) is None and names.find(dids[6]) is None
    close(names)


def test_a_full_disk_keeps_all_pending(tmp_path: Path) -> None:
    vfs = FaultyVfs(unique_name("names"))
    names = opened(tmp_path / "data", vfs.name)
    dids = make_dids(2_000)
    names.number(dids)
    names.set_flags(7, OPTED_OUT)
    vfs.fail = "full"
    with pytest.raises(StoreFull):
        names.flush()
    vfs.fail = ""
    names.flush()
    close(names)
    names = opened(tmp_path / "data")
    assert names.number(dids).tolist() == list(range(2_000)) and names.flags[7] == OPTED_OUT
    close(names)


def test_readers_see_whole_names_while_people_come_and_go(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids = make_dids(6_000)
    known, wrong, stop = set(dids), [], threading.Event()

    def read() -> None:
        rng = random.Random(3)
        while not stop.is_set():
            n = rng.randrange(max(names.count, 1))
            did = names.did(n)
            found = names.find(dids[n])
            if (did is not None and did != dids[n]) or found not in (None, n) or (did is not None and did not in known):
                wrong.append((n, did, found))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for first in range(0, 6_000, 50):
        names.number(dids[first : first + 50])
        names.erase(first // 2)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    close(names)


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(make_dids(5)), st.just("did:web:a.example"))))
def test_packing_agrees_with_the_plain_rules(texts: list[str]) -> None:
    packed = pack_dids(texts)
    for i, text in enumerate(texts):
        plc = pack_plc(text)
        assert packed.form[i] == (PLC if plc else OTHER if is_did(text) else BAD)
        if plc:
            assert (packed.high[i], packed.low[i]) == plc and unpack_plc(*plc) == text


URIS = st.builds(
    "at://{}/{}/{}".format,
    st.sampled_from([*make_dids(3), "did:web:a.example", "alice.example", "did:plc:short"]),
    st.sampled_from([POST_NSID, "app.bsky.feed.like", "app.bsky.feed.posts"]),
    st.sampled_from(
        ["3lawxq7n5kc2b", "zzzzzzzzzzzzz", "self", "3lawxq7n5kc21", "b" * 13, "2" * 13, "j" * 13, "c" * 13, "", "a b"]
    ),
)


@given(st.lists(st.one_of(URIS, st.text(max_size=80), URIS.map(lambda u: u + "\n"))))
def test_uris_agree_with_the_plain_rules(texts: list[str]) -> None:
    parsed = parse_post_uris(texts)
    odd = dict(parsed.odd_keys)
    for i, text in enumerate(texts):
        uri = parse_at_uri(text)
        if uri is None or uri.collection != POST_NSID:
            assert parsed.authors.form[i] == BAD
            continue
        assert parsed.keys[i] == rkey_to_int(uri.rkey)
        assert odd.get(i) == (uri.rkey if parsed.keys[i] < 0 else None)
        plc = pack_plc(uri.did)
        if plc:
            assert (parsed.authors.high[i], parsed.authors.low[i]) == plc
        else:
            assert parsed.authors.form[i] == OTHER and parsed.authors.others[i] == uri.did


PLAIN = st.builds(
    lambda did, key: f"at://did:plc:{did}/{POST_NSID}/{key}",
    st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=24, max_size=24),
    st.builds(int_to_tid, st.integers(0, 2**63 - 1)),
)


@settings(deadline=None)  # of which compiling takes part
@given(st.lists(PLAIN))
def test_uris_are_spelled_as_they_came(uris: list[str]) -> None:
    parsed = parse_post_uris(uris)
    assert spell_posts(parsed.authors.high, parsed.authors.low | np.uint64(VALID), parsed.keys) == uris


def test_who_has_no_plain_did_and_what_has_no_tid_is_not_spelled() -> None:
    high, low = np.zeros(2, np.uint64), np.array([0, VALID], np.uint64)
    assert spell_posts(high, low, np.array([1, -1])) == [None, None]


def test_many_people_find_their_slots(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids = make_dids(30_000)
    for first in range(0, 30_000, 1_000):
        names.number(dids[first : first + 1_000])
    assert (names.number(dids) == np.arange(30_000)).all()
    assert len(names.flags) >= 30_000
    close(names)


def test_at_the_limit_subjects_are_refused_before_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names_module, "MAX_PEOPLE", 100)
    monkeypatch.setattr(names_module, "MAX_SUBJECTS", 80)
    before = REFUSED.value("subject"), REFUSED.value("author")
    names = opened(tmp_path / "data")
    subjects, authors = make_dids(90, seed=1), make_dids(30, seed=2)
    assert names.number(subjects, authors=False).tolist() == [*range(80), *[NO_PERSON] * 10]
    assert names.number(["did:web:one.example"], authors=False).tolist() == [NO_PERSON]
    assert names.number([*authors, "did:web:two.example"]).tolist() == [*range(80, 100), *[NO_PERSON] * 11]
    assert (REFUSED.value("subject") - before[0], REFUSED.value("author") - before[1]) == (11, 11)
    assert names.number(subjects[:80], authors=False).tolist() == list(range(80))  # who is known stays so
    names.flush()
    close(names)
    names = opened(tmp_path / "data")
    assert names.count == 100 and names.number(authors[20:]).tolist() == [NO_PERSON] * 10
    close(names)
