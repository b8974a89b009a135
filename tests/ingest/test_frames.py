"""Inflating: why a message is left out, counted under the right reason."""

from __future__ import annotations

from collections import Counter

import pytest
import zstandard

from feedgen.ingest.events import MAX_FRAME_BYTES
from feedgen.ingest.frames import Inflater

DICTIONARY = zstandard.train_dictionary(1024, [b"%d,%d" % (i, i * i) * 20 for i in range(100)]).as_bytes()


@pytest.mark.parametrize("sized", [True, False])
def test_what_is_too_large_is_not_called_unreadable(sized: bool) -> None:
    compress = zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(DICTIONARY), write_content_size=sized
    ).compress
    dropped: Counter[str] = Counter()
    largest = bytes(MAX_FRAME_BYTES)
    messages = [
        compress(b"one"),
        compress(largest + b"x"),
        compress(largest),
        compress(b"two")[:-3],
        b"\x28\xb5\x2f\xfd?",
    ]
    assert Inflater(DICTIONARY).many(messages, dropped) == [b"one", largest]
    assert dropped == {"too_big": 1, "not_zstd": 2}
