"""Readers of an experiment: who gets which arm, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from feedgen.core.settings import Settings
from feedgen.core.settings_ranking import Experiment as ExperimentSettings
from feedgen.core.settings_ranking import Rank
from feedgen.feeds.contract import NoLog, Shown
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.from_settings import experiment_of
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.recipes import Experiment, Recipe, Share
from feedgen.feeds.services import FeedServices
from feedgen.rank.params import DEFAULT, FORYOU, preset
from tests.feeds.town import READER, Town, ask, did, make_services

KEY = b"k" * 32
CONTROL, OTHER = Recipe(DEFAULT, "e/control"), Recipe(preset("default", seeds=1, colikers=1), "e/other")
READERS = [f"did:plc:{n:024d}" for n in range(4000)]


def dealt(experiment: Experiment) -> list[str]:
    return [found.arm if (found := experiment.recipe(reader)) else "" for reader in READERS]


def test_shares_hold_and_readers_stay() -> None:
    experiment = Experiment("e", [Share(50, CONTROL), Share(20, OTHER)], KEY)
    arms = dealt(experiment)
    assert 0.47 < arms.count("e/control") / len(arms) < 0.53
    assert 0.18 < arms.count("e/other") / len(arms) < 0.22
    assert 0.27 < arms.count("") / len(arms) < 0.33
    assert dealt(Experiment("e", [Share(50, CONTROL), Share(20, OTHER)], KEY)) == arms
    grown = dealt(Experiment("e", [Share(50, CONTROL), Share(40, OTHER)], KEY))
    assert all(after == before for before, after in zip(arms, grown, strict=True) if before)


@pytest.mark.parametrize("other", [("f", KEY), ("e", b"x" * 32)])
def test_another_name_or_key_deals_anew(other: tuple[str, bytes]) -> None:
    shares = [Share(50, CONTROL), Share(50, OTHER)]
    one, two = dealt(Experiment("e", shares, KEY)), dealt(Experiment(other[0], shares, other[1]))
    same = sum(a == b for a, b in zip(one, two, strict=True))
    assert 0.46 < same / len(READERS) < 0.54


def test_arms_are_as_the_settings_say() -> None:
    arms = ("control 50%", "published 20% preset=foryou", "fresher 30% age_half_life=1.5 seeds=40")
    rank = Rank(seeds=77)
    experiment = experiment_of(Settings(rank=rank, experiment=ExperimentSettings(name="age", arms=arms)), KEY)
    assert experiment is not None
    found = {recipe.arm: recipe for reader in READERS if (recipe := experiment.recipe(reader))}
    assert set(found) == {"age/control", "age/published", "age/fresher"}
    assert found["age/control"].params == preset("default", seeds=77)
    assert (found["age/published"].params, found["age/published"].preset) == (FORYOU, "foryou")
    assert found["age/fresher"].params == preset("default", seeds=40, age_half_life=1.5)
    assert found["age/fresher"].preset == "own"
    assert experiment_of(Settings(), KEY) is None


@dataclass
class Noted(NoLog):
    """What the history is told."""

    pages: list[tuple[str, str, str]] = field(default_factory=list)

    def served(self, page: Shown) -> None:
        self.pages.append((page.feed, page.preset, page.arm))


@pytest.fixture
def services() -> Iterator[FeedServices]:
    services = make_services(Town())
    services.experiment = Experiment("e", [Share(50, CONTROL), Share(50, OTHER)], KEY)
    services.log = Noted()
    yield services
    services.pool.close()


async def test_each_reader_gets_the_list_of_their_arm_and_the_page_says_so(services: FeedServices) -> None:
    noted, lists = services.log, []
    assert isinstance(noted, Noted)
    readers = range(0, 20, 2)
    for reader in readers:
        lists.append([item.uri for item in (await ForYou(services).page(ask(reader))).items])
    expected = [services.recipe_of(did(reader)) for reader in readers]
    assert noted.pages == [("for-you", recipe.preset, recipe.arm) for recipe in expected]
    assert {arm for _, _, arm in noted.pages} == {"e/control", "e/other"}
    # The same town, asked for the first time by readers who are all treated as this one was.
    for reader, recipe, listed in zip(readers, expected, lists, strict=True):
        alone = make_services(Town())
        alone.recipe = recipe
        assert [item.uri for item in (await ForYou(alone).page(ask(reader))).items] == listed
        alone.pool.close()


async def test_a_list_that_all_share_is_in_no_experiment(services: FeedServices) -> None:
    noted = services.log
    assert isinstance(noted, Noted)
    await PopularFeed(services).page(ask())
    await ForYou(services).page(ask(None))
    assert noted.pages == [("popular", "popular", ""), ("for-you", "popular", "")]


async def test_a_page_works_out_its_recipe_once(services: FeedServices, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, recipe_of = list[str | None](), FeedServices.recipe_of

    def counted(self: FeedServices, reader_did: str | None) -> Recipe:
        asked.append(reader_did)
        return recipe_of(self, reader_did)

    monkeypatch.setattr(FeedServices, "recipe_of", counted)
    first = await ForYou(services).page(ask(READER))
    assert asked == [did(READER)] and first.cursor
    await ForYou(services).page(replace(ask(READER), cursor=first.cursor))
    assert asked == [did(READER)] * 2
