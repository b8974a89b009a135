"""What is learned lies in files that may be cut off, changed, filled up or taken away at any time."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest

from feedgen.learn import files
from feedgen.learn.files import Examples, held_out, pack, replace_file, unpack
from feedgen.learn.model import MAX_BYTES, Model, read, save
from feedgen.rank.features import FEATURES
from tests.learn.made import KEY, a_block

SOME = [10, 15]  # requests, rows


def a_model(**more: object) -> Model:
    numbers = tuple(np.linspace(-1, 1, FEATURES).tolist())
    return Model(key=KEY, weights=numbers, lows=numbers, highs=numbers, **more)  # type: ignore[arg-type]


def test_a_block_is_read_as_it_was_written_and_100_000_rows_take_less_than_8_mb() -> None:
    block = a_block(3, 10, 15).thin()
    read_again = unpack(pack(block))
    assert (read_again.key, read_again.time_us, read_again.until_us) == (KEY, block.time_us, block.until_us)
    for name in ("starts", "x", "weights", "labels"):
        assert (getattr(read_again, name) == getattr(block, name)).all()
    large = a_block(3, 50, 300)
    assert len(pack(large)) / large.rows * 100_000 < 8e6


def test_no_damaged_block_is_believed(tmp_path: Path) -> None:
    content = pack(a_block(1, 3, 5))
    for at in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 4
        for wrong in (bytes(damaged), content[:at]):
            with pytest.raises(ValueError):
                unpack(wrong)
    examples = Examples(tmp_path)
    examples.add(a_block(1, 3, 5))
    (path,) = tmp_path.glob("*.examples")
    (tmp_path / f"0{files.SUFFIX}").write_bytes(content[:50])
    assert [block.time_us for block in examples.read()] == [a_block(1).time_us]
    examples.add(a_block(1, 3, 5))
    assert list(tmp_path.glob("*.examples")) == [path], "what can't be read goes when the next one comes"


def test_blocks_are_bounded_and_only_the_newest_fifth_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_REQUESTS", 100)
    examples = Examples(tmp_path)
    for n in range(15):
        examples.add(a_block(n, 10, 60))
    kept = examples.read()
    assert [block.time_us for block in kept] == [a_block(n).time_us for n in range(5, 15)]
    assert (
        [block.thinned for block in kept] == [True] * 8 + [False] * 2 == [block not in held_out(kept) for block in kept]
    )
    examples.add(a_block(20, 0, 60))
    assert len(examples.read()) == 10, "a moment at which nobody liked anything is not kept"


def test_examples_of_another_formula_go(tmp_path: Path) -> None:
    examples = Examples(tmp_path)
    examples.add(a_block(1, 3, 5))
    examples.add(a_block(2, 3, 5, key=(1.0, 2.0)))
    assert [block.key for block in examples.read()] == [(1.0, 2.0)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    assert read(path) == (None, "")
    save(a_model(gain=0.0123), path)
    assert read(path) == (a_model(gain=0.0123), "")
    before = path.read_bytes()
    save(a_model(gain=0.0123), path)
    assert path.read_bytes() == before


def test_no_damaged_model_serves(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    save(a_model(), path)
    content = path.read_bytes()
    for at in range(0, len(content) - 1, 31):
        damaged = bytearray(content)
        damaged[at] ^= 4
        for wrong in (bytes(damaged), content[:at]):
            path.write_bytes(wrong)
            model, words = read(path)
            assert model is None and words
    path.unlink()
    path.mkdir()
    assert read(path)[0] is None and "can't be read" in read(path)[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "another version"),
        ({"features": ("score",)}, "another version"),
        ({"key": (1.0,)}, "another version"),
        ({"weights": (1.0,)}, "do not fit"),
        ({"tree_features": (1,)}, "do not fit"),
    ],
)
def test_a_model_of_another_make_does_not_serve(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    save(msgspec.structs.replace(a_model(), **changes), tmp_path / "model.json")
    model, said = read(tmp_path / "model.json")
    assert model is None and words in said


def test_a_model_is_at_most_a_megabyte(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than"):
        save(a_model(tree_values=(0.123456789,) * (MAX_BYTES // 10)), tmp_path / "model.json")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.json"
    replace_file(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
