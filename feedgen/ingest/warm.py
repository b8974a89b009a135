"""Every kernel of ingest called once: compiled while installing, not when the first event comes."""

from __future__ import annotations

from collections import Counter

import zstandard

from feedgen.ingest.frames import Inflater
from feedgen.ingest.scan import scan


def warm() -> None:
    scan([b"{}"])
    dictionary = zstandard.train_dictionary(1024, [b"%d,%d" % (i, i * i) * 20 for i in range(100)]).as_bytes()
    Inflater(dictionary).many([b""], Counter())
