"""Compiles the ranking's kernels ahead of time, on tiny arrays of the real types."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from feedgen.graph.access import FIELDS, Arrays
from feedgen.graph.graph import Graph
from feedgen.graph.view import View
from feedgen.rank.features import FEATURES, features
from feedgen.rank.kernel import rank
from feedgen.rank.listing import PERSONAL, ListRules, Source, make_list
from feedgen.rank.pace import Pace
from feedgen.rank.params import CHEAP
from feedgen.rank.policy import page_policy, row_verdicts, verdicts
from feedgen.rank.popular import Popular
from feedgen.rank.request import request
from feedgen.rank.rows import likes_since, newest_posts, rows_of
from feedgen.rank.scorer import Scorer, rescore
from feedgen.rank.spam import find_spammers
from feedgen.rank.tongues import languages_of


def empty_view() -> View:
    """A network where nothing ever happened."""
    nobody = np.zeros(1, np.uint8), np.zeros(1, np.uint32)
    no_days = np.empty((0, FIELDS), np.int64), np.empty(0, np.int64), np.full(256, -1, np.int16)
    return View(Arrays(*no_days, *nobody, np.full(2, 0xFFFF_FFFF, np.uint32)), ())


def warm() -> None:
    """Calls every kernel of `rank` once."""
    view = empty_view()
    f, q = CHEAP.formula(), request(0, seeds=np.zeros(1, np.uint32))
    ranked = rank(view, f, q)
    make_list(view, [Source(PERSONAL, ranked.ints)], ListRules())
    features(view, f, q, ranked)
    rescore(Scorer((), np.zeros(FEATURES), np.zeros(FEATURES), np.zeros(FEATURES)), np.zeros((2, FEATURES)))
    verdicts(view, np.zeros(1, np.uint32), page_policy(view))
    row_verdicts(view, ranked.ints, page_policy(view))
    Pace().measure(view, 0)
    newest_posts(view, 0, 1)
    likes_since(view, rows_of(view, np.zeros(1, np.uint32))[:, 0].astype(np.uint32), 0, 0)
    languages_of(view, np.zeros(1, np.uint32))
    Popular().refresh(view, 0, 1_000_000)
    _warm_spam()


def _warm_spam() -> None:
    """It looks at days, so there must be one."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(Path(folder))
        graph.start_day(0)
        find_spammers(graph.view(), 0)
        graph.close()
