"""Every setting: its name, type, default, meaning and limits, in one place.

A section is a frozen struct, a key is a field with a `Key` beside its type. To add a key, add a field; to add a
section, add a struct and a field to `Settings`. The file, the environment and `feedgen config show` follow by
themselves; `feedgen config docs` writes docs/settings.md anew. core/config.py does the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

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


class Rank(Section, frozen=True, kw_only=True):
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
    seeds: Annotated[
        int | None,
        Key(
            "How many of the reader's newest ratings speak for them. "
            "More: long-held tastes count; fewer: only recent ones, and less work.",
            unit="ratings",
            low=1,
            high=2000,
        ),
    ] = None
    seed_days: Annotated[
        float | None,
        Key("Ratings older than this are not asked. Shorter: the feed forgets sooner.", unit="days", low=1, high=256),
    ] = None
    seed_likers: Annotated[
        int | None,
        Key(
            "How many of each seed's newest likers are looked at. "
            "More: popular seeds bring more people, and more work.",
            unit="people",
            low=1,
            high=5000,
        ),
    ] = None
    seed_newest: Annotated[
        float | None,
        Key(
            "Weight of the newest seed; between newest and oldest it is linear by rank. "
            "Lower: the last thing liked sways the feed less.",
            unit="share",
            low=0,
            high=1,
        ),
    ] = None
    seed_oldest: Annotated[
        float | None,
        Key("Weight of the oldest seed. Lower: recent likes sway the feed more.", unit="share", low=0, high=1),
    ] = None
    seed_popularity: Annotated[
        float | None,
        Key(
            "Power by which a seed's own popularity divides its weight. "
            "Higher: having liked something rare tells more.",
            unit="power",
            low=0,
            high=2,
        ),
    ] = None
    seed_cap: Annotated[
        float | None,
        Key(
            "No seed weighs more than this many times the mean seed. Lower: one stray like can change less.",
            unit="x mean",
            low=1,
            high=100,
        ),
    ] = None
    late_hours: Annotated[
        float | None,
        Key(
            "People who liked a seed up to this long after the reader still count. "
            "Longer: more co-likers, fewer of them early.",
            unit="hours",
            low=0,
            high=2160,
        ),
    ] = None
    late_factor: Annotated[
        float | None,
        Key(
            "Weight of a co-liker's like that came after the reader's. Lower: early finders count more.",
            unit="share",
            low=0,
            high=1,
        ),
    ] = None
    shared_power: Annotated[
        float | None,
        Key(
            "Power of the summed weight of the seeds that a co-liker shares. "
            "Higher: people who share much count more than people who share one thing.",
            unit="power",
            low=0.25,
            high=3,
        ),
    ] = None
    ratings_power: Annotated[
        float | None,
        Key(
            "Power by which a co-liker's number of ratings divides their weight. "
            "Higher: people who like little count more.",
            unit="power",
            low=0,
            high=2,
        ),
    ] = None
    ratings_floor: Annotated[
        float | None,
        Key(
            "Added to a co-liker's number of ratings before dividing. "
            "Higher: accounts that were made to like one thing gain less.",
            unit="ratings",
            low=0,
            high=100,
        ),
    ] = None
    ratings_max: Annotated[
        int | None,
        Key(
            "People with more ratings than this within the store's days carry no weight. "
            "Lower: those who like everything all day are not asked.",
            unit="ratings",
            low=10,
            high=10000000,
        ),
    ] = None
    colikers: Annotated[
        int | None,
        Key(
            "How many best co-likers are asked what they like. More: wider, and more work.",
            unit="people",
            low=1,
            high=20000,
        ),
    ] = None
    coliker_share: Annotated[
        float | None,
        Key(
            "No co-liker carries more than this share of all co-likers' weight. "
            "Lower: one account can move the list less.",
            unit="share",
            low=0.001,
            high=1,
        ),
    ] = None
    head: Annotated[
        int | None,
        Key(
            "How many of the best co-likers vouch for posts; `tail` and `tail_base` bound what all others add. "
            "Lower: many accounts that agree a little with the reader move the list less.",
            unit="people",
            low=1,
            high=20000,
        ),
    ] = None
    tail: Annotated[
        float | None,
        Key(
            "All co-likers beyond the head together add less than this many times what the head gives a post, and so "
            "many times the mean weight of the head as `tail_base` says. Lower: the head decides alone.",
            unit="x head",
            low=0,
            high=100,
        ),
    ] = None
    tail_base: Annotated[
        float | None,
        Key(
            "See `tail`, which it adds to. Lower: what none of the head likes comes later.",
            unit="x mean of head",
            low=0,
            high=100,
        ),
    ] = None
    coliker_likes: Annotated[
        int | None,
        Key(
            "How many of a co-liker's newest ratings are looked at. Lower: people who like everything bring less.",
            unit="ratings",
            low=1,
            high=2000,
        ),
    ] = None
    window: Annotated[
        float | None,
        Key(
            "Ratings of co-likers older than this are not looked at. Shorter: less work, staler feeds run dry.",
            unit="x L",
            low=0.1,
            high=2000,
        ),
    ] = None
    like_half_life: Annotated[
        float | None,
        Key(
            "A co-liker's like loses half its weight in this time; 0 is never. Shorter: what is being liked right now.",
            unit="x L",
            low=0,
            high=100,
        ),
    ] = None
    age_half_life: Annotated[
        float | None,
        Key(
            "A post loses half its score in this time; 0 is never. Shorter: fresher posts.", unit="x L", low=0, high=100
        ),
    ] = None
    paths_power: Annotated[
        float | None,
        Key(
            "Power of the number of co-likers that lead to a post. "
            "Higher: agreement counts more than one strong co-liker.",
            unit="power",
            low=0,
            high=2,
        ),
    ] = None
    popularity_power: Annotated[
        float | None,
        Key(
            "Power by which a post's ratings divide its score. Higher: less of what everybody sees anyway.",
            unit="power",
            low=0,
            high=1.5,
        ),
    ] = None
    velocity_power: Annotated[
        float | None,
        Key(
            "Power of the decayed count of a post's newest ratings. Higher: more of what is rising now.",
            unit="power",
            low=0,
            high=1,
        ),
    ] = None
    velocity_half_life: Annotated[
        float | None,
        Key(
            "A rating loses half its weight in the velocity in this time. Shorter: velocity means this very moment.",
            unit="x L",
            low=0.001,
            high=100,
        ),
    ] = None
    velocity_likers: Annotated[
        int | None,
        Key(
            "How many of a post's newest ratings make its velocity. More: finer, and more work.",
            unit="ratings",
            low=1,
            high=1000,
        ),
    ] = None
    less_weight: Annotated[
        float | None,
        Key(
            "Weight of the paths from posts that the reader wants less of. Higher: 'show less' takes more away.",
            unit="x seed",
            low=0,
            high=20,
        ),
    ] = None
    finalists: Annotated[
        int | None,
        Key(
            "How many posts with the best raw x n^c are scored in full. "
            "Fewer: less work, and a list that may come short.",
            unit="posts",
            low=1,
            high=8000,
        ),
    ] = None
    edges: Annotated[
        int | None,
        Key(
            "Edges that one list may visit: at most half for seeds, the last eighth for velocities. "
            "Lower: bounded work, coarser lists.",
            unit="edges",
            low=100,
            high=50000000,
        ),
    ] = None
    pace_hours: Annotated[
        float | None,
        Key(
            "Fixes L instead of following the live network; 0 follows. Fixed: half-lives are plain hours.",
            unit="hours",
            low=0,
            high=2160,
        ),
    ] = None

    def changes(self) -> dict[str, float]:
        """The parameters that differ from the preset."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "preset"}
        return {name: value for name, value in given.items() if value is not None}


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


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    service: Service = Service()
    tunnel: Tunnel = Tunnel()
    fallback: Fallback = Fallback()
    store: Store = Store()
    jetstream: Jetstream = Jetstream()
    identity: Identity = Identity()
    appview: Appview = Appview()
    rank: Rank = Rank()
    experiment: Experiment = Experiment()
    lists: Lists = Lists()
    labels: Labels = Labels()
    moderation: Moderation = Moderation()
    web: Web = Web()
    publish: Publish = Publish()
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
