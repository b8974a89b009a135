"""Where a new connection begins."""

from __future__ import annotations

from feedgen.core.ids import US_PER_S
from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import Event
from feedgen.ingest.position import STEP_BACK_US, Position

T = 1_790_000_000_000_000


def event(seq: int, time_us: int) -> Event:
    return Event(did="did:plc:a", time_us=time_us, seq=seq)


def heard(position: Position, seconds: int, sequences: bool = True) -> None:
    """Ten events a second, looked at once a second."""
    for s in range(1, seconds + 1):
        position.advance(event(10 * s if sequences else 0, T + s * US_PER_S), "host")


def test_a_step_back_is_thirty_seconds_of_sequences() -> None:
    position = Position("oldest")
    heard(position, 100)
    assert position.continues("host", position.cursor("host", T))
    position.step_back()
    assert position.at == Cursor("host", 700, T + 70 * US_PER_S)
    assert position.cursor("host", T) == 700
    assert not position.continues("host", 700)


def test_steps_back_do_not_add_up() -> None:
    """A host that is down refuses many connections, each of which ends without a word."""
    position = Position("oldest")
    heard(position, 100)
    for _ in range(5):
        position.step_back()
    assert position.cursor("host", T) == 700
    position.advance(event(800, T + 80 * US_PER_S), "host")
    position.step_back()
    assert position.cursor("host", T) == 700


def test_without_sequences_the_step_back_is_by_time() -> None:
    position = Position("oldest")
    heard(position, 100, sequences=False)
    position.step_back()
    assert position.at == Cursor("host", 0, T + 100 * US_PER_S - STEP_BACK_US)


def test_a_step_back_after_a_start_goes_to_the_stores_cursor() -> None:
    position = Position("oldest")
    position.resume(Cursor("host", 500, T))
    position.advance(event(510, T + 2 * US_PER_S), "host")
    position.step_back()
    assert position.cursor("host", T) == 500


def test_sequences_of_another_host_are_not_stepped_back_to() -> None:
    position = Position("oldest")
    heard(position, 20)
    position.advance(event(7_000_000, T + 21 * US_PER_S), "other")
    position.step_back()
    assert position.at == Cursor("other", 7_000_000, T + 21 * US_PER_S)


def test_with_nothing_heard_there_is_nothing_to_step_back_from() -> None:
    position = Position("now")
    position.step_back()
    assert position.cursor("host", T) is None
