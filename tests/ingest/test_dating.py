"""When old records were made."""

from __future__ import annotations

import numpy as np

from feedgen.core.ids import US_PER_DAY, US_PER_S, make_tid, rkey_to_int
from feedgen.ingest.dating import OLD_US, dated_us, one_dated_us
from feedgen.ingest.events import MIN_TIME_US
from tests.ingest.wires import NOW_US


def test_much_older_keys_are_believed() -> None:
    for back_us in (OLD_US + US_PER_S, 30 * US_PER_DAY):
        assert one_dated_us(rkey_to_int(make_tid(NOW_US - back_us)), NOW_US) == NOW_US - back_us


def test_others_are_as_witnessed() -> None:
    keys = [make_tid(NOW_US), make_tid(NOW_US - OLD_US + US_PER_S), make_tid(NOW_US + 9 * US_PER_DAY), "odd"]
    assert {one_dated_us(rkey_to_int(key), NOW_US) for key in keys} == {NOW_US}


def test_nothing_is_older_than_the_network() -> None:
    assert one_dated_us(rkey_to_int("2222222222222"), NOW_US) == MIN_TIME_US


def test_many_at_once() -> None:
    keys = np.array([rkey_to_int(k) for k in (make_tid(NOW_US - 7 * US_PER_DAY), "odd", make_tid(NOW_US - 1))])
    witnessed = np.full(3, NOW_US)
    assert dated_us(keys, witnessed).tolist() == [NOW_US - 7 * US_PER_DAY, NOW_US, NOW_US]
