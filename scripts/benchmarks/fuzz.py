"""Decoding against spoilt frames: how many were survived, how fast, and what became of them.

An exception or a slow frame ends the run and is shown. tests/ingest/test_fuzz.py does the same with smaller counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.ingest import fuzzing

from . import Figure, Params

PARAMETERS = {"frames": 1_000_000, "seed": 1}


def run(params: Params) -> Iterator[Figure]:
    report = fuzzing.Report()
    start_s = time.process_time()
    for frame in fuzzing.every_field_by_every_value():
        fuzzing.check(frame, report)
    yield Figure("fuzz.fields_times_values", report.frames, "frames", "every field replaced by every value")
    for frame in fuzzing.mutations(int(params["seed"]), int(params["frames"])):
        fuzzing.check(frame, report)
    yield Figure("fuzz.frames", report.frames, "frames", "no exception, no hang, no unusable event")
    yield Figure("fuzz.cpu_s", time.process_time() - start_s, "s")
    yield Figure("fuzz.slowest_ms", report.slowest_s * 1e3, "ms", "the slowest frame")
    for outcome, n in report.outcomes.most_common():
        yield Figure(f"fuzz.outcome.{outcome}", n, "frames")
