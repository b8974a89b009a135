"""Every setting: its name, type, default, meaning and limits, in one place.

A section is a frozen struct, a key is a field with a `Key` beside its type. To add a key, add a field; to add a
section, add a struct and a field to `Settings`. The file, the environment and `feedgen config show` follow by
themselves; `feedgen config docs` prints docs/settings.md. core/config.py does the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from feedgen.core.arms import parse_arm
from feedgen.core.checks import (
    check_account,
    check_bind,
    check_feed_words,
    check_folder,
    check_http_url,
    check_stream_token,
    check_subject,
    check_websocket_url,
    or_nothing,
)
from feedgen.core.config import Section, fields_of, read_settings
from feedgen.core.config_values import Key, Problem, from_text, judge
from feedgen.core.settings_network import Appview, Fallback, Identity, Jetstream, Service, Tunnel
from feedgen.core.settings_ranking import Experiment, Lists, Rank


class Store(Section, frozen=True, kw_only=True):
    """What is kept, and for how long."""

    dir: Annotated[
        str, Key("The data folder, made when missing; relative to the working folder.", check=check_folder)
    ] = "data"
    retention_days: Annotated[
        int, Key("Days of history to keep; older days are unlinked whole.", unit="days", low=1, high=120)
    ] = 90


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
    """Accounts and posts hidden from everyone. `feedgen block` and `unblock` do the same while the service runs."""

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


class Stream(Section, frozen=True, kw_only=True):
    """Every event with what belongs to it, over one websocket (docs/stream.md). Off unless `bind` is set."""

    bind: Annotated[
        str,
        Key(
            "Where to listen, like `127.0.0.1:8092`; `tailscale:port` is this machine's address in the tunnel. "
            "Empty: there is no stream.",
            check=or_nothing(check_bind),
        ),
    ] = ""
    tokens: Annotated[
        tuple[str, ...],
        Key(
            "Who may listen: a name, messages a second (0: no limit), and the hash of a token, as `feedgen stream "
            "token add` writes them. Empty: everybody who reaches the address.",
            check=check_stream_token,
        ),
    ] = ()
    patience_ms: Annotated[
        int,
        Key("A message waits at most this long for what belongs to it.", unit="ms", low=0, high=10_000),
    ] = 300
    calls_per_s: Annotated[
        float,
        Key(
            "What is asked of the AppView, at most; each call brings 25 posts or profiles.",
            unit="calls/s",
            low=0.1,
            high=100,
        ),
    ] = 8.0
    kept_profiles: Annotated[
        int, Key("Profiles that are kept in memory.", unit="profiles", low=1_000, high=2_000_000)
    ] = 100_000
    kept_posts: Annotated[int, Key("Posts that are kept in memory.", unit="posts", low=1_000, high=2_000_000)] = 100_000
    adult: Annotated[bool, Key("Whether posts and people that are labelled as adult or graphic are passed on.")] = False


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
    """Log lines on stderr."""

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
    stream: Stream = Stream()
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
        stream = self.stream
        if stream.bind and not stream.tokens and not stream.bind.startswith(("unix:", "127.", "localhost", "[::1]")):
            said.append(
                f'[stream] bind is "{stream.bind}" and there are no tokens: everybody who reaches it may listen. '
                "Make one with `feedgen stream token add NAME`."
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
