"""Ranking, lists and experiments as the settings have them. `rank` knows of no settings, and they of no ranking."""

from __future__ import annotations

from feedgen.core.arms import parse_arm
from feedgen.core.settings import Settings
from feedgen.feeds.recipes import Experiment, Recipe, Share
from feedgen.feeds.sources import Part, parse_mix
from feedgen.rank.listing import ListRules
from feedgen.rank.params import RankParams, preset


def rank_params(settings: Settings) -> RankParams:
    return preset(settings.rank.preset, **settings.rank.changes())


def experiment_of(settings: Settings, key: bytes) -> Experiment | None:
    """Which readers get another ranking."""
    name, rank, shares = settings.experiment.name, settings.rank, list[Share]()
    for arm in filter(None, map(parse_arm, settings.experiment.arms)):
        changes = {} if arm.preset else rank.changes()
        changes |= {parameter: _number(value) for parameter, value in arm.changes.items()}
        shares.append(Share(arm.share, Recipe(preset(arm.preset or rank.preset, **changes), f"{name}/{arm.name}")))
    return Experiment(name, shares, key) if name else None


def _number(text: str) -> float:
    """As the parameters have it: some are whole."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def list_mix(settings: Settings) -> tuple[Part, ...]:
    return parse_mix(settings.lists.mix)


def list_rules(settings: Settings) -> ListRules:
    lists = settings.lists
    return ListRules(
        size=lists.posts,
        author_max=lists.author_max,
        author_gap=lists.author_gap,
        author_page_max=lists.author_page_max,
        spread=lists.spread,
        about_max=lists.about_max,
        replies=lists.replies,
        quotes=lists.quotes,
        adult=lists.adult,
    )
