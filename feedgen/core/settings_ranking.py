"""Settings of how lists are made: [rank], [experiment], [lists]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from feedgen.core.arms import check_arm
from feedgen.core.checks import (
    check_name,
    or_nothing,
)
from feedgen.core.config import Section
from feedgen.core.config_values import Key
from feedgen.core.parameters import Parameter, table


class _Preset(Section, frozen=True, kw_only=True):
    """How posts are ranked: a preset, and what differs from it. What is left out is as the preset has it.

    `L` is the median age of a post when it is liked, measured as the network runs. `feedgen evaluate` measures what a
    change does on your own data.
    """

    preset: Annotated[
        str,
        Key(
            "Where all parameters start from: `default` is the best that we measured, `foryou` the formula as "
            "published, `cheap` is `default` with a tenth of the work.",
            choices=("default", "foryou", "cheap"),
        ),
    ] = "default"

    def changes(self) -> dict[str, float]:
        """The parameters that differ from the preset."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "preset"}
        return {name: value for name, value in given.items() if value is not None}


def _parameter(one: Parameter) -> tuple[str, Any, None]:
    kind = int if one.whole else float
    text = ". ".join(part[0].upper() + part[1:] for part in (one.meaning, one.effect)) + "."
    return one.name, Annotated[kind | None, Key(text, unit=one.unit, low=one.low, high=one.high)], None


if TYPE_CHECKING:
    Rank = _Preset
else:
    # [rank] has a key for every row of the table, and what is left out is None.
    Rank = msgspec.defstruct(
        "Rank",
        [_parameter(one) for one in table()],
        bases=(_Preset,),
        namespace={"__doc__": _Preset.__doc__},
        module=__name__,
        frozen=True,
        kw_only=True,
    )


class Experiment(Section, frozen=True, kw_only=True):
    """Deals readers out to arms, each with a ranking of its own, to learn which one serves them better.

    docs/learning.md says how to read what comes of it.
    """

    name: Annotated[
        str,
        Key(
            "Name of the experiment. Another name assigns readers to arms again. Empty: no experiment.",
            check=or_nothing(check_name),
        ),
    ] = ""
    arms: Annotated[
        tuple[str, ...],
        Key(
            "Each `NAME SHARE%` and what differs from [rank]: `preset=...` and parameters of [rank]. The first is what "
            "the others are compared with. Readers beyond 100% of shares get [rank] and are not compared.",
            check=check_arm,
            max_items=8,
        ),
    ] = ()
    effect: Annotated[
        float,
        Key(
            "The smallest difference that is worth finding, of the first arm's likes per post seen. Smaller: more "
            "readers are needed.",
            unit="percent",
            low=1,
            high=100,
        ),
    ] = 10.0


class Lists(Section, frozen=True, kw_only=True):
    """Which posts may stand in a list, whatever their score. Deleted and `!hide` labelled ones never do."""

    posts: Annotated[
        int,
        Key(
            "How many posts one ranked list holds; then a reader has paged to its end.", unit="posts", low=30, high=500
        ),
    ] = 500
    author_max: Annotated[
        int, Key("Posts by one author in a list. They never stand side by side.", unit="posts", low=1, high=500)
    ] = 5
    mix: Annotated[
        tuple[str, ...],
        Key(
            "What personal lists are made of: `likes`, `explore`, `fresh`, `known-authors`, `popular`; `:10` after a "
            "name is its share of all places in percent. The first without a share gets the rest of them, others fill "
            "up what is left. `explore` tries a post that would not have come, from place 20 on.",
            max_items=8,
        ),
    ] = ("likes", "explore:3.3", "popular")
    author_gap: Annotated[
        int,
        Key(
            "Within so many places an author stands once. With too few authors, as far apart as possible.",
            unit="places",
            low=2,
            high=30,
        ),
    ] = 10
    author_page_max: Annotated[
        int, Key("Within a page of 30 an author stands so often.", unit="posts", low=1, high=30)
    ] = 2
    spread: Annotated[
        float,
        Key(
            "Each further post on a page that the same like led to counts this many times less: a page is about more "
            "than one of the reader's interests. 1: no difference.",
            unit="share",
            low=0.1,
            high=1,
        ),
    ] = 0.8
    about_max: Annotated[
        int,
        Key(
            "Posts in a list that quote or answer the same post, that post counted: no pile-ons.",
            unit="posts",
            low=1,
            high=500,
        ),
    ] = 2
    replies: Annotated[bool, Key("Whether replies may be shown in personal lists.")] = False
    quotes: Annotated[bool, Key("Whether quotes may be shown.")] = True
    adult: Annotated[bool, Key("Whether personal lists may show what its authors label as adult or graphic.")] = False
