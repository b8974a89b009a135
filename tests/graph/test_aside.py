from __future__ import annotations

from pathlib import Path

import numpy as np

from feedgen.graph.aside import Aside
from feedgen.graph.graph import Graph
from feedgen.ingest.events import ADULT, HIDDEN, NO_UNAUTHENTICATED, PERSON_ADULT, PERSON_HIDDEN


def test_posts_are_set_aside_and_brought_back() -> None:
    aside, posts = Aside(), np.array([5, 1 << 24, 0xFFFF_FFFE], np.uint32)
    assert not aside.flags(posts).any() and not aside.flags(posts[:0]).any()
    aside.set_post(5, hidden=True, adult=False)
    aside.set_post(0xFFFF_FFFE, hidden=False, adult=True)
    assert aside.flags(posts).tolist() == [HIDDEN, 0, ADULT]
    aside.keep_days({255})
    assert aside.flags(posts).tolist() == [0, 0, ADULT]
    aside.set_post(0xFFFF_FFFE, hidden=False, adult=False)
    assert not aside.adult and not aside.hidden


def test_what_others_say_lies_over_a_persons_own_flags(tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    try:
        flags = graph.view().arrays.person_flags
        graph.set_aside(3, 0, PERSON_HIDDEN)
        graph.set_person_flags([2, 3], [PERSON_ADULT, NO_UNAUTHENTICATED])
        assert flags[2:4].tolist() == [PERSON_ADULT, NO_UNAUTHENTICATED | PERSON_HIDDEN]
        graph.set_aside(2, PERSON_ADULT, PERSON_HIDDEN)
        graph.set_aside(2, PERSON_ADULT, 0)
        graph.set_aside(3, NO_UNAUTHENTICATED, 0)
        assert flags[2:4].tolist() == [PERSON_ADULT, NO_UNAUTHENTICATED]
    finally:
        graph.close()
