"""Every setting: its name, type, default, meaning and limits, in one place.

A section is a frozen struct, a key is a field with a `Key` beside its type. To add a key, add a field; to add a
section, add a struct and a field to `Settings`. The file, the environment and `feedgen config show` follow by
themselves; `feedgen config docs` writes docs/settings.md anew. core/config.py does the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from feedgen.core.arms import check_arm, parse_arm
from feedgen.core.checks import (
    check_account,
    check_bind,
    check_did,
    check_feed_words,
    check_folder,
    check_host,
    check_host_name,
    check_http_url,
    check_name,
    check_proxy,
    check_subject,
    check_websocket_url,
    or_nothing,
)
from feedgen.core.config import Key, Problem, Section, fields_of, from_text, judge, read_settings
from feedgen.core.parameters import Parameter, table

LOCAL_PROXIES: Final = ("127.0.0.0/8", "::1", "unix")


class Service(Section, frozen=True, kw_only=True):
    """Who we are and where we listen."""

    hostname: Annotated[
        str,
        Key(
            "The public DNS name that the AppView reaches us by. `localhost` is for trying things out.",
            check=check_host_name,
        ),
    ] = "localhost"
    did: Annotated[
        str,
        Key(
            "The service's DID, also the audience of its tokens. Empty: `did:web:<hostname>`.",
            check=or_nothing(check_did),
        ),
    ] = ""
    publisher_did: Annotated[
        str,
        Key(
            "The account whose repository holds the feed records. Empty: the same as `did`.",
            check=or_nothing(check_did),
        ),
    ] = ""
    bind: Annotated[
        str,
        Key(
            "Where to listen: `host:port` (port 0: any free one), or `unix:path`. `tailscale:port` is this machine's "
            "address in the tunnel.",
            check=check_bind,
        ),
    ] = "127.0.0.1:8090"
    private_bind: Annotated[
        str,
        Key(
            "A second address for what is not for the public (metrics, health in detail). Empty: none.",
            check=or_nothing(check_bind),
        ),
    ] = ""
    private_hosts: Annotated[
        tuple[str, ...],
        Key(
            "Names that the private address is asked by, like home.example.net. Its number, `localhost` and names "
            "without a dot need not be named. Other names are refused, because a web page could make its own lead "
            "there and read what only you may see.",
            check=check_host_name,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key(
            "Whose word about a caller's address is believed (X-Forwarded-For): the VPS's address in the tunnel, for "
            "example. `unix` stands for callers through a unix socket. Everybody behind a proxy that is missing here "
            "looks like one caller, and shares one caller's limits.",
            check=check_proxy,
        ),
    ] = LOCAL_PROXIES

    def __post_init__(self) -> None:
        # So that nobody else has to know how an empty value is filled in.
        if not self.did:
            msgspec.structs.force_setattr(self, "did", f"did:web:{self.hostname}")
        if not self.publisher_did:
            msgspec.structs.force_setattr(self, "publisher_did", self.did)

    @property
    def trusts_nobody_outside(self) -> bool:
        """Whether a proxy on another machine would be taken for the caller."""
        host = self.bind.rpartition(":")[0]
        is_local = self.bind.startswith("unix:") or host.startswith(("127.", "localhost", "[::1]"))
        return not is_local and set(self.trusted_proxies) <= set(LOCAL_PROXIES)


class Tunnel(Section, frozen=True, kw_only=True):
    """The private network between this machine and the VPS."""

    kind: Annotated[
        str,
        Key(
            "`tailscale`: its state is measured once a minute (docs/tailscale.md). `none`: another one, or none.",
            choices=("none", "tailscale"),
        ),
    ] = "none"
    vps: Annotated[
        str,
        Key("The VPS in the tunnel, by its name or address there.", check=or_nothing(check_host)),
    ] = ""


class Fallback(Section, frozen=True, kw_only=True):
    """What the VPS answers while this machine is off: the running process hands it a fresh popular page."""

    url: Annotated[
        str,
        Key(
            "`feedgen egress` on the VPS, at its address in the tunnel, like `http://100.64.0.2:8118`. Empty: none.",
            check=or_nothing(check_http_url),
        ),
    ] = ""
    dir: Annotated[str, Key("A folder that the files are written to, for a copy of your own. Empty: none.")] = ""
    every_s: Annotated[int, Key("How often.", unit="s", low=10, high=86_400)] = 300


class Store(Section, frozen=True, kw_only=True):
    """What is kept, and for how long."""

    dir: Annotated[
        str, Key("The data folder, made when missing; relative to the working folder.", check=check_folder)
    ] = "data"
    retention_days: Annotated[
        int, Key("Days of history to keep; older days are unlinked whole.", unit="days", low=1, high=120)
    ] = 90


class Jetstream(Section, frozen=True, kw_only=True):
    """Where events come from."""

    urls: Annotated[
        tuple[str, ...],
        Key(
            "Hosts, the best first; after repeated failures the next one is tried.",
            check=check_websocket_url,
            min_items=1,
            max_items=16,
        ),
    ] = (
        "wss://jetstream.us-east.bsky.network",
        "wss://jetstream.us-west.bsky.network",
        "wss://jetstream1.us-east.bsky.network",
        "wss://jetstream2.us-east.bsky.network",
        "wss://jetstream1.us-west.bsky.network",
        "wss://jetstream2.us-west.bsky.network",
    )
    wire: Annotated[
        str,
        Key(
            "The protocol: `v2` has sequences and compression, `v1` is the legacy one, `auto` asks the host.",
            choices=("auto", "v1", "v2"),
        ),
    ] = "auto"
    start: Annotated[
        str,
        Key(
            "Where the very first start begins: the oldest event the host still has, or now.", choices=("oldest", "now")
        ),
    ] = "oldest"
    archive_days: Annotated[
        int,
        Key(
            "How much of the past the very first start fetches from the archive of the first of `urls`, a v2 host. "
            "A day is about 1 GB to download; `feedgen archive plan` says more.",
            "days",
            low=0,
            high=90,
        ),
    ] = 0
    archive_heal: Annotated[
        bool, Key("After a stop of more than a day, fetch what was missed from the archive of the first of `urls`.")
    ] = True
    archive_key: Annotated[
        str,
        Key(
            "The API key for the archive, if its host wants one. Better kept in `archive_key_file` or a systemd "
            "credential named `archive_key`.",
            secret=True,
        ),
    ] = ""
    archive_key_file: Annotated[str, Key("A file with that key in its only line.")] = ""


class Identity(Section, frozen=True, kw_only=True):
    """How DIDs become keys."""

    plc_url: Annotated[str, Key("The directory of did:plc documents.", check=check_http_url)] = "https://plc.directory"
    did_web: Annotated[
        str,
        Key(
            "Readers with a did:web: `off` treats them as logged out, `proxy` fetches their document through "
            "`proxy_url`, `direct` fetches it from here, which shows this machine's address to hosts that callers "
            "choose.",
            choices=("off", "direct", "proxy"),
        ),
    ] = "off"
    proxy_url: Annotated[
        str,
        Key(
            "The HTTP proxy for did:web documents and repositories. Needed when `did_web` or `pds` is `proxy`.",
            check=or_nothing(check_http_url),
        ),
    ] = ""
    pds: Annotated[
        str,
        Key(
            "Where a new reader's follows and older likes come from: `proxy` and `direct` ask their PDS as with "
            "`did_web`; with `off` only what was heard since this service began to listen is known.",
            choices=("off", "direct", "proxy"),
        ),
    ] = "off"
    trusted_pds: Annotated[
        tuple[str, ...],
        Key(
            "PDS addresses that are asked directly, whatever `pds` says and wherever they are: your own, for example.",
            check=check_http_url,
        ),
    ] = ()


class Appview(Section, frozen=True, kw_only=True):
    """Where public profiles and posts are looked up."""

    url: Annotated[str, Key("An AppView's public API.", check=check_http_url)] = "https://public.api.bsky.app"


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
            "What it is called; another name deals the readers out anew. Empty: no experiment.",
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


class Labels(Section, frozen=True, kw_only=True):
    """What labelers say of posts and accounts. Labels are heard all the time; they count on the next page."""

    enabled: Annotated[bool, Key("Whether labelers are listened to. `false` forgets nothing, but nothing counts.")] = (
        True
    )
    urls: Annotated[
        tuple[str, ...],
        Key("Labelers, each by the address of its service. Bluesky's own is the default.", check=check_websocket_url),
    ] = ("wss://mod.bsky.app",)
    start: Annotated[
        str,
        Key(
            "Where the very first start begins: the oldest label that the labeler has, or now.",
            choices=("oldest", "now"),
        ),
    ] = "oldest"
    hide: Annotated[tuple[str, ...], Key("Labels whose posts and accounts are shown to nobody.")] = (
        "!hide",
        "!takedown",
        "!suspend",
    )
    adult: Annotated[tuple[str, ...], Key("Labels whose posts and accounts are for adults: see `[lists] adult`.")] = (
        "porn",
        "sexual",
        "nudity",
        "graphic-media",
        "gore",
    )


class Moderation(Section, frozen=True, kw_only=True):
    """Whom the operator shows to nobody. `feedgen block` and `unblock` do the same while the service runs."""

    block: Annotated[
        tuple[str, ...],
        Key("Accounts (DIDs) and posts (at-uris).", check=check_subject),
    ] = ()


class Web(Section, frozen=True, kw_only=True):
    """Pages for people. All of them are on `[service] private_bind`; what strangers may see of them is said here."""

    public: Annotated[
        bool,
        Key(
            "Whether the public address shows the figures, the playground and its reasons, too. `false`: it shows what "
            "this is, the privacy policy and the terms.",
        ),
    ] = False
    source: Annotated[
        str, Key("Where the source of this program can be had. Empty: not said.", check=or_nothing(check_http_url))
    ] = ""
    contact: Annotated[
        str,
        Key("How people reach you, as the privacy policy and the terms say it. Empty: through the publishing account."),
    ] = ""
    privacy_policy: Annotated[
        str, Key("A privacy policy of your own. Empty: the page `/privacy`.", check=or_nothing(check_http_url))
    ] = ""
    terms: Annotated[
        str, Key("Terms of service of your own. Empty: the page `/terms`.", check=or_nothing(check_http_url))
    ] = ""
    pictures: Annotated[
        tuple[str, ...],
        Key(
            "Hosts that readers' browsers may load posts' pictures from, besides `[appview] url`.",
            check=check_http_url,
        ),
    ] = ("https://cdn.bsky.app", "https://video.bsky.app", "https://video.cdn.bsky.app")


class Publish(Section, frozen=True, kw_only=True):
    """What `feedgen publish` tells Bluesky of the feeds (docs/publish.md). The account's password is no setting."""

    handle: Annotated[
        str,
        Key(
            "The account whose feeds these are, like `you.bsky.social`. Empty: asked.", check=or_nothing(check_account)
        ),
    ] = ""
    pds: Annotated[
        str,
        Key(
            "Where that account logs in: its PDS, or `https://bsky.social` for all of Bluesky's.", check=check_http_url
        ),
    ] = "https://bsky.social"
    feeds: Annotated[
        tuple[str, ...], Key("The feeds to publish. What is not in the list still answers, but nobody finds it.")
    ] = ("for-you", "videos-for-you", "popular")
    names: Annotated[
        tuple[str, ...],
        Key("Names other than the feeds' own, like `for-you=For You, at home`.", check=check_feed_words),
    ] = ()
    descriptions: Annotated[
        tuple[str, ...],
        Key("Descriptions other than the feeds' own, like `popular=What all like.`", check=check_feed_words),
    ] = ()
    avatars: Annotated[
        tuple[str, ...],
        Key("Pictures (PNG or JPEG, 1 MB at most), like `for-you=/etc/feedgen/for-you.png`.", check=check_feed_words),
    ] = ()
    interactions: Annotated[
        bool, Key('Whether readers may tell us "show less", "show more" and what they have seen.')
    ] = True


class Feeds(Section, frozen=True, kw_only=True):
    """Feeds of your own, a file each (docs/feeds.md)."""

    dir: Annotated[
        str,
        Key(
            "The folder of `*.py` and `*.toml` files that define feeds; relative to the settings file.",
            check=check_folder,
        ),
    ] = "feeds"

    @property
    def folder(self) -> Path:
        return Path(self.dir)


class Log(Section, frozen=True, kw_only=True):
    """What is told on stderr."""

    level: Annotated[
        str,
        Key(
            "The least important line that is shown; `debug` names people.",
            choices=("debug", "info", "warning", "error"),
        ),
    ] = "info"
    format: Annotated[
        str,
        Key("`auto` is text on a terminal and JSON otherwise.", choices=("auto", "text", "json")),
    ] = "auto"


class Learn(Section, frozen=True, kw_only=True):
    """A scorer that learns from everybody's likes and reorders the best posts of each list."""

    enabled: Annotated[
        bool,
        Key(
            "Collect examples, train once a day, and rank with what was learned as soon as it is better than the "
            "formula alone. Takes some seconds of CPU an hour, and about 25 MB in `data/learn`.",
        ),
    ] = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    service: Service = Service()
    tunnel: Tunnel = Tunnel()
    fallback: Fallback = Fallback()
    store: Store = Store()
    jetstream: Jetstream = Jetstream()
    identity: Identity = Identity()
    appview: Appview = Appview()
    rank: Rank = Rank()
    learn: Learn = Learn()
    experiment: Experiment = Experiment()
    lists: Lists = Lists()
    labels: Labels = Labels()
    moderation: Moderation = Moderation()
    web: Web = Web()
    publish: Publish = Publish()
    feeds: Feeds = Feeds()
    log: Log = Log()

    def problems(self) -> list[Problem]:
        """What each key alone can't tell: values that don't go together."""
        found = []
        for key in ("did_web", "pds"):
            if getattr(self.identity, key) == "proxy" and not self.identity.proxy_url:
                found.append(
                    Problem(
                        "identity",
                        "proxy_url",
                        f'is empty, but {key} = "proxy" needs it',
                        "Allowed: the http:// or https:// URL of your proxy.",
                    )
                )
        found += self._problems_of_arms()
        bind = self.service.bind
        if bind == self.service.private_bind and not bind.endswith(":0"):
            found.append(
                Problem(
                    "service",
                    "private_bind",
                    f'= "{bind}" is the same address as bind',
                    "Allowed: another address, or nothing.",
                )
            )
        return found

    def _problems_of_arms(self) -> list[Problem]:
        arms = [arm for text in self.experiment.arms if (arm := parse_arm(text)) is not None]
        allowed = {field.name: field for field in fields_of(Settings) if field.section == "rank"}
        found = []

        def wrong(what: str, instead: str, key: str = "arms") -> None:
            found.append(Problem("experiment", key, what, instead))

        if bool(self.experiment.name) != bool(arms):
            key = "arms" if self.experiment.name else "name"
            wrong("is empty", "An experiment has a name and arms. No experiment: leave both out.", key)
        if len({arm.name for arm in arms}) < len(arms):
            wrong("has two arms of one name", "Give each arm a name of its own.")
        if sum(arm.share for arm in arms) > 100:
            wrong(f"has shares of {sum(arm.share for arm in arms):g}%", "Allowed: 100% together.")
        for arm in arms:
            given = [f"preset={arm.preset}"] if arm.preset else []
            for text in [*given, *(f"{name}={value}" for name, value in arm.changes.items())]:
                name, _, value = text.partition("=")
                if name not in allowed:
                    wrong(f"has {arm.name} with {name}", f"Known: {', '.join(sorted(allowed))}.")
                elif (problem := judge(allowed[name], from_text(allowed[name], value), "")) is not None:
                    wrong(f"has {arm.name} with {text}", problem.allowed)
        return found

    def warnings(self) -> list[str]:
        """What is allowed, but should be said at the start."""
        said = []
        if "." not in self.service.hostname:
            said.append(
                f'[service] hostname is "{self.service.hostname}": fine for trying things out, but '
                "Bluesky can't reach this feed. Set it to this service's public DNS name."
            )
        if self.service.trusts_nobody_outside:
            said.append(
                f'[service] bind is "{self.service.bind}", but trusted_proxies names only this machine: all callers '
                "look like one and share one caller's limits. Add the VPS's address in the tunnel (`feedgen setup`)."
            )
        for key in ("did_web", "pds"):
            if getattr(self.identity, key) == "direct":
                said.append(f'[identity] {key} = "direct" shows this machine\'s address to hosts that callers choose.')
        return said


def load_settings(
    path: Path | None = None, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> Settings:
    """The settings of this process; SettingsError when they can't be used."""
    return read_settings(Settings, path, env, folder).get()
