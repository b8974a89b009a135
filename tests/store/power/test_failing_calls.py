"""Each call of the store fails once (failing.py). FEEDGEN_FAILING_CALLS says at how many places; there are about a
thousand.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from tests.store.power.shim import memory, run

PLACES: Final = int(os.environ.get("FEEDGEN_FAILING_CALLS", "60"))


@pytest.mark.needs("cc")
def test_a_call_that_fails_once_loses_and_falsifies_nothing() -> None:
    with TemporaryDirectory(prefix="feedgen-failing-", dir=memory()) as room:
        *wrong, last = run("failing", Path(room), room, str(PLACES)).splitlines()
    assert wrong == []
    words = last.split()
    assert words[0] == "tried" and int(words[1]) >= min(PLACES, int(words[3])) * 0.9
