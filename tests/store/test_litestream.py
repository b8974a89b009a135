"""contrib/litestream.yml with the real Litestream beside the real viewers.db: the disk is lost, and nothing with it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from feedgen import cli
from feedgen.graph.archive import Archive
from feedgen.store.viewers import FILE_NAME, Viewers

ROOT = Path(__file__).parents[2]
LITESTREAM = str(Path(sys.prefix) / "bin" / "litestream")
PATIENCE_S = 60.0


def environment(data: Path, replica: Path) -> dict[str, str]:
    return os.environ | {"FEEDGEN_DATA": str(data), "FEEDGEN_REPLICA": f"file://{replica}"}


@contextmanager
def replicating(data: Path, replica: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [LITESTREAM, "replicate", "-config", str(ROOT / "contrib" / "litestream.yml")]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=environment(data, replica), stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def restore(data: Path, replica: Path, out: Path) -> str:
    """Into `out`; what went wrong, if anything did."""
    config = str(ROOT / "contrib" / "litestream.yml")
    command = [LITESTREAM, "restore", "-config", config, "-o", str(out), str(data / FILE_NAME)]
    done = subprocess.run(command, env=environment(data, replica), capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


async def comes_back(data: Path, replica: Path, folder: Path, key: str) -> dict[str, bytes | None]:
    """All notes of the copy, once `key` is among them."""
    deadline_s, n, trouble = time.monotonic() + PATIENCE_S, 0, ""
    while time.monotonic() < deadline_s:
        again = folder / f"{key}-{(n := n + 1)}"
        again.mkdir()
        trouble = await asyncio.to_thread(restore, data, replica, again / FILE_NAME)
        if not trouble:
            async with await Viewers.open(again) as viewers:
                if await viewers.note(key) is not None:
                    return {f"note-{i}": await viewers.note(f"note-{i}") for i in range(200)}
        await asyncio.sleep(0.3)
    raise AssertionError(f"{key} never came: {trouble}")


async def test_what_was_written_a_moment_ago_survives_the_disk(tmp_path: Path) -> None:
    data, replica = tmp_path / "data", tmp_path / "replica"
    Archive(data, 90).close()
    async with await Viewers.open(data) as viewers:
        await viewers.put_note("note-0", b"before Litestream")
        with replicating(data, replica, tmp_path / "log"):
            for i in range(1, 150):
                await viewers.put_note(f"note-{i}", f"while it copies {i}".encode())
            await comes_back(data, replica, tmp_path, "note-149")
        # It was killed; what is written meanwhile is caught up with by the next one.
        for i in range(150, 199):
            await viewers.put_note(f"note-{i}", b"while it was away")
        with replicating(data, replica, tmp_path / "log"):
            await viewers.put_note("note-199", b"the last")
            found = await comes_back(data, replica, tmp_path, "note-199")
        assert found == {f"note-{i}": await viewers.note(f"note-{i}") for i in range(200)}
    # What Litestream keeps beside the file disturbs nobody.
    assert (data / f".{FILE_NAME}-litestream").is_dir()
    done = CliRunner().invoke(cli.cli, ["verify", "--set", f"store.dir={data}"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli.cli, ["backup", str(tmp_path / "backup"), "--set", f"store.dir={data}"])
    assert done.exit_code == 0, done.output
