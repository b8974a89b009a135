"""A model serves only if it is better where it was not trained, and serves as it was tested."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from feedgen.learn import training
from feedgen.learn.examples import Block
from feedgen.learn.files import held_out
from feedgen.learn.linear import fit
from feedgen.learn.model import FORMULA, LINEAR, MAX_BYTES, TREES
from feedgen.learn.training import ERRORS, MIN_ROWS, measure, rows_of, train
from feedgen.rank.features import AGE, FEATURES, LIKES, SCORE
from feedgen.rank.numeric import F64
from feedgen.rank.scorer import parts_of, rescore
from tests.learn.made import a_block, blocks

AMONG = 12  # blocks of 40 lists: 9 of them make some 14,000 thinned rows


def as_it_was(block: Block, **more: object) -> Block:
    return replace(block, **more)  # type: ignore[arg-type]


def test_what_is_there_to_learn_is_learned() -> None:
    model, report = train(blocks(AMONG, age=1.0), None)
    assert model is not None and report.serving == model.kind == LINEAR
    assert model.weights[AGE] > 0.5 and model.weights[AGE] > 3 * max(
        abs(w) for i, w in enumerate(model.weights) if i not in (AGE, SCORE)
    )
    assert report.gain > 0.02 and report.gain > ERRORS * report.error
    assert report.rows == model.rows >= MIN_ROWS and report.tested >= report.requests // 5


def test_without_anything_to_learn_the_formula_serves() -> None:
    model, report = train(blocks(AMONG), None)
    assert model is None and report.serving == FORMULA
    assert "no clear gain" in report.words


def test_few_rows_are_no_model() -> None:
    model, report = train(blocks(5, age=1.0), None)
    assert model is None and f"of {MIN_ROWS:,} rows" in report.words
    assert train([], None)[0] is None
    old, _ = train(blocks(AMONG, age=1.0), None)
    assert train([], old)[0] == old, "one that serves goes on when its examples were lost"


def test_the_same_rows_give_the_same_bytes() -> None:
    one, other = train(blocks(AMONG, age=1.0), None)[0], train(blocks(AMONG, age=1.0), None)[0]
    assert msgspec.json.encode(one) == msgspec.json.encode(other)


def test_the_newest_fifth_tests_and_never_trains() -> None:
    given = blocks(AMONG, age=1.0)
    last = {block.time_us for block in held_out(given)}
    assert sum(block.requests for block in given if block.time_us in last) * 5 >= AMONG * 40
    others, contrary = list[Block](), list[Block]()
    for i, block in enumerate(given):
        if block.time_us in last:
            other = a_block(1000 + i, age=1.0)
            others.append(as_it_was(other, time_us=block.time_us, until_us=block.until_us))
            contrary.append(a_block(i, age=-1.0))
        else:
            others.append(block)
            contrary.append(block)
    one, two = train(given, None)[0], train(others, None)[0]
    assert one is not None and two is not None
    assert one.gain != two.gain and one.weights == two.weights and one.highs == two.highs
    model, report = train(contrary, None)
    assert model is None and report.gain < 0, "a model that is worse on the newest fifth does not serve"


def test_what_is_still_being_labelled_when_the_test_begins_is_left_out() -> None:
    given = blocks(AMONG, age=1.0)
    first_us = min(block.time_us for block in held_out(given))
    late = [as_it_was(b, until_us=first_us + 1) if b.time_us < first_us else b for b in given]
    assert train(late, None)[1].rows == 0


def test_the_model_that_was_tested_is_the_one_that_serves() -> None:
    given = blocks(AMONG, age=1.0)
    model, report = train(given, None)
    assert model is not None
    again = measure(model.scorer(), [block for block in held_out(given) if not block.thinned])
    assert (again.gain, again.error) == (report.gain, report.error) == (model.gain, model.error)


def test_an_old_model_stays_while_it_is_better_than_the_formula() -> None:
    good, _ = train(blocks(AMONG, age=1.0), None)
    assert good is not None
    changed = [a_block(i, age=-1.0 if i < AMONG - 3 else 1.0) for i in range(AMONG)]
    kept, report = train(changed, good)
    assert kept == good and "old one still is" in report.words
    assert train(changed, None)[0] is None
    of_another_formula = msgspec.structs.replace(good, key=(*good.key[:-1], 99.0))
    assert train(changed, of_another_formula)[0] is None
    gone, report = train([a_block(i, age=1.0 if i < AMONG - 3 else -1.0) for i in range(AMONG)], good)
    assert gone is None and report.serving == FORMULA, "nor does an old one that has become worse"


def test_with_enough_rows_trees_learn_what_no_sum_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    given = blocks(AMONG, both=1.0)
    model, report = train(given, None)
    assert model is None, "there is nothing that a linear model could say"
    monkeypatch.setattr(training, "MIN_TREE_ROWS", report.rows)
    model, report = train(given, None)
    assert model is not None and report.serving == model.kind == TREES and not model.trouble()
    assert len(msgspec.json.encode(model)) < MAX_BYTES
    again, _ = train(given, None)
    assert msgspec.json.encode(again) == msgspec.json.encode(model)
    scorer, x = model.scorer(), given[0].x[:80].astype(np.float64)
    found = rescore(scorer, x)
    parts = parts_of(scorer, found)
    assert parts.sum(1) == pytest.approx(np.log(found.factors), abs=1e-9)
    of_each = np.abs(parts).mean(0)
    others = [j for j in range(FEATURES) if j not in (AGE, LIKES, SCORE)]
    assert min(of_each[AGE], of_each[LIKES]) > max(of_each[others])


def test_a_fit_finds_the_weights_that_made_the_likes() -> None:
    _, weights = fit(rows_of(blocks(25, age=0.5)))
    assert abs(weights[AGE] - 0.5) < 0.1
    others = [w for i, w in enumerate(weights.tolist()) if i != AGE]
    assert max(map(abs, others)) < 0.15


def test_without_importance_weights_a_drawn_sample_would_mislead() -> None:
    """The thinned rows give the weights of the whole ones, because each stands for those it was drawn from."""
    given = blocks(10, age=0.5)
    whole = fit(rows_of(given))[1]
    thin = [block.thin() for block in given]
    unweighted = [as_it_was(block, weights=np.ones_like(block.weights)) for block in thin]
    assert distance(fit(rows_of(thin))[1], whole) < distance(fit(rows_of(unweighted))[1], whole)


def distance(one: F64, other: F64) -> float:
    assert one.size == FEATURES
    return float(np.abs(one - other).max())
