"""Shared by benchmarks: an archive filled with a flood, through the decoder and the recorder that serve."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from feedgen.core.ids import day_of
from feedgen.graph.archive import Archive
from feedgen.ingest.batch import Batch, BatchBuilder
from feedgen.ingest.events import Event, decode
from scripts.benchmarks.flood.plan import V1, Encoder, FloodPlan, flood

HOST = "flood.example"


def batches(plan: FloodPlan, first: int = 0, last: int | None = None) -> Iterator[Batch]:
    """The flood's events as the pipeline would hand them over."""
    builder = BatchBuilder(HOST)
    for chunk in flood(plan, Encoder(V1), first, last):
        data, offsets = memoryview(chunk.data), chunk.offsets.tolist()
        for start, end in pairwise(offsets):
            event = decode(bytes(data[start:end]))
            if not isinstance(event, Event):
                continue
            day = day_of(event.time_us)
            if not builder.add(event, day):
                yield builder.take()
                builder.add(event, day)
    if builder.events:
        yield builder.take()


def seal_all(archive: Archive) -> None:
    """Every day but none left open: sealed in the store and in the arrays."""
    writer, graph = archive.writer, archive.graph
    newest = writer.days()[-1]
    cursor = writer.cursor()
    assert cursor is not None
    writer.begin(newest + 1)
    writer.commit(cursor)
    graph.start_day(newest + 1)
    for day in writer.days()[:-1]:
        if not writer.is_sealed(day):
            writer.seal(day)
            graph.seal(day, archive.truth(day)).result()


def files_of(folder: Path) -> dict[str, int]:
    """Bytes on the disk by kind of file."""
    sizes: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            kind = "names" if path.name.startswith("names") else "".join(path.suffixes) or path.name
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_blocks * 512
    return sizes


def written_bytes() -> int:
    """What this process has had written to the disk so far, as the kernel counts."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
