"""After a cut or a failed call: a normal start, the rest of the stream, and the comparison with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from feedgen.core.ids import day_of
from feedgen.ingest.events import Event
from tests.graph.network import Feeder, Model

REPLAYED: Final = 120  # events a batch


def model_of(events: list[Event], after: int = 0, opened: int = 0) -> Model:
    """What came `after` a restart belongs to the day that was `opened` then, or to a later one."""
    model, day = Model(), 0
    for event in events:
        day = max(day, day_of(event.time_us), opened if event.seq > after else 0)
        model.apply(event, day)
    return model


class _Deaf:
    def apply(self, event: Event, day: int) -> None:
        pass


def go_on(disk: Path, events: list[Event], model: Model, settle: bool, kind: type[Feeder] = Feeder) -> None:
    """A normal start, the rest of the stream from the cursor that was found, and nothing is missing or too much."""
    feeder = kind(disk)
    try:
        cursor = feeder.archive.recorder.cursor()
        after = cursor.seq if cursor else 0
        opened = feeder.archive.graph.open_day or 0
        feeder.day = day_of(events[after - 1].time_us) if after else 0
        if after < len(events) and opened > day_of(events[after].time_us):  # begun, and cut before anything was in it
            model = model_of(events, after, opened)
        feeder.model = _Deaf()  # type: ignore[assignment]
        rest = [event for event in events if event.seq > after]
        for at in range(0, len(rest), REPLAYED):
            feeder.tell(*rest[at : at + REPLAYED])
        feeder.model = model
        feeder.archive.graph.wait()  # a day that is built again is counted a moment later
        if settle:
            feeder.settle()
        feeder.check()
    finally:
        feeder.close()
