"""A page of a sidecar that can't be read or written (SIGBUS): the process goes on, and the day is built again.

Pages beyond the end of a file that was cut short under its map are such pages.
"""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from feedgen.graph.build import build, put_in_place
from feedgen.graph.faults import Area
from feedgen.graph.graph import Graph
from feedgen.graph.layout import HEADER_BYTES
from feedgen.graph.sealed import Damaged, SealedDay
from tests.graph.test_sealed import DAY, IDENTITY, SLOT, assert_right, load, sidecar, truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put_in_place(build(Graph(tmp_path, IDENTITY).path_of(DAY), truth(), IDENTITY), tmp_path / "2024-10-05.idx")
    return tmp_path


def lose_all_but_the_header(folder: Path) -> None:
    os.truncate(sidecar(folder), HEADER_BYTES)


def test_a_page_that_can_not_be_read(folder: Path) -> None:
    graph, report = load(folder)
    assert report.mapped == [DAY]
    lose_all_but_the_header(folder)
    for n in range(40):  # before it is built again: any answer, but one
        graph.view().likers_of(SLOT | n, 100)
    graph.wait()
    assert_right(graph)
    graph.close()


def test_a_page_that_can_not_be_written(folder: Path) -> None:
    graph, _ = load(folder)
    actor, post, _ = truth().rated[0]
    lose_all_but_the_header(folder)
    graph.remove_rating(DAY, actor, post)  # meets the bad page; the truth still says it
    graph.wait()
    assert_right(graph)
    graph.remove_rating(DAY, actor, post)
    assert actor not in graph.view().likers_of(post, 1000)[0].tolist()
    graph.close()


def test_it_is_not_trusted_after_a_crash(folder: Path) -> None:
    """Before the day could be built again: the file is gone at once."""
    graph, _ = load(folder)
    lose_all_but_the_header(folder)
    graph._closing.set()  # nothing is built any more
    graph.view().likers_of(SLOT, 100)
    graph.wait()
    assert list(folder.glob("*.idx")) == []
    graph.close()
    graph, report = load(folder)
    assert list(report.rebuilt) == [DAY]
    assert_right(graph)
    graph.close()


def test_a_newer_file_of_the_same_name_stays(folder: Path) -> None:
    graph, _ = load(folder)
    old = graph._days[DAY]
    assert isinstance(old, SealedDay)
    graph.seal(DAY, truth()).result()
    old.distrust()
    assert sidecar(folder).exists()
    graph.close()


def test_a_header_that_can_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is opened, so that no start dies of it."""
    whole = np.frombuffer

    def lose_it_first(area: object, dtype: object) -> object:
        os.truncate(sidecar(folder), 0)
        return whole(area, dtype)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "frombuffer", lose_it_first)
    with pytest.raises(Damaged, match="damaged header"):
        SealedDay(sidecar(folder), DAY, IDENTITY)


def test_a_new_file_without_room_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy-on-write file system may find no room for what was promised."""
    path = folder / "x.idx"
    monkeypatch.setattr(os, "posix_fallocate", lambda fd, at, size: os.ftruncate(fd, HEADER_BYTES))
    monkeypatch.setattr(mmap, "mmap", lambda fd, size: _mapped_beyond(fd, size))
    with pytest.raises(OSError, match="could not be written"):
        build(path, truth(), IDENTITY)
    assert list(folder.glob("x.*")) == []


_mmap = mmap.mmap


def _mapped_beyond(fd: int, size: int) -> mmap.mmap:
    os.ftruncate(fd, size)
    area = _mmap(fd, size)
    os.ftruncate(fd, HEADER_BYTES)
    return area


class _Owner:
    def fault(self) -> None:
        raise AssertionError("not ours")


def test_a_fault_elsewhere_ends_the_process_as_before() -> None:
    program = (
        "import mmap, os, tempfile, numpy as np\n"
        "from feedgen.graph.faults import Area\n"
        "from tests.graph.test_faults import _Owner\n"
        "file = tempfile.TemporaryFile()\n"
        "file.truncate(8192)\n"
        "area = np.frombuffer(mmap.mmap(file.fileno(), 8192), np.uint8)\n"
        "owner = _Owner()\n"
        "held = Area(area.ctypes.data, 4096, file.fileno(), owner.fault)\n"
        "file.truncate(4096)\n"
        "area[5000]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGBUS


def test_what_can_be_read_stays(tmp_path: Path) -> None:
    """Of a page that could not be written, because there was no room."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2 * mmap.PAGESIZE)
    heard: list[str] = []

    class Owner:
        def fault(self) -> None:
            heard.append("fault")

    with path.open("r+b") as file:
        mapped = _mmap(file.fileno(), 2 * mmap.PAGESIZE)
        view = np.frombuffer(mapped, np.uint8)
        owner = Owner()
        area = Area(view.ctypes.data, view.size, file.fileno(), owner.fault)
        assert area._take_over(view.ctypes.data + mmap.PAGESIZE + 7)
        view[mmap.PAGESIZE + 1] = ord("y")
        assert area._take_over(view.ctypes.data + mmap.PAGESIZE + 9)  # met by another thread, too
        assert bytes(view[mmap.PAGESIZE : mmap.PAGESIZE + 4]) == b"xyxx" and heard == ["fault"]
    assert path.read_bytes() == b"x" * 2 * mmap.PAGESIZE
