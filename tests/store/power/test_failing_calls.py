"""Each call of the store fails once (failing.py). FEEDGEN_FAILING_CALLS says at how many places; there are about a
thousand. FEEDGEN_FAILING_PART=2/5 tries the second fifth of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from tests.store.power.shim import memory, run

PLACES: Final = int(os.environ.get("FEEDGEN_FAILING_CALLS", "60"))
PART: Final = os.environ.get("FEEDGEN_FAILING_PART", "1/1")


@pytest.mark.needs("cc")
def test_a_call_that_fails_once_loses_and_falsifies_nothing() -> None:
    with TemporaryDirectory(prefix="feedgen-failing-", dir=memory()) as room:
        *wrong, last = run("failing", Path(room), room, str(PLACES), PART).splitlines()
    assert wrong == []
    words, parts = last.split(), int(PART.split("/")[1])
    assert words[0] == "tried"
    assert int(words[1]) * parts + 2 * (parts - 1) >= min(PLACES, int(words[3])) * 0.9
