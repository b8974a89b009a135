"""The AppView of the made-up world: posts and profiles as views, to show what a feed's page looks like."""

from __future__ import annotations

import colorsys
import zlib
from typing import Any, Final

import msgspec

from feedgen.core.ids import FOLLOW_NSID, POST_NSID, is_did
from feedgen.simnet import text
from feedgen.simnet.faults import Faults
from feedgen.simnet.httpd import Request, Response, Router, answer, failure
from feedgen.simnet.pds import Repositories
from feedgen.simnet.states import PostState, ProfileState
from feedgen.simnet.world import World

MAX_POSTS: Final = 25
MAX_PROFILES: Final = 25
MAX_REMEMBERED: Final = 1_000
_IMAGES: Final = "/img/"


class AppView:
    """getPosts and getAuthorFeed, getProfile(s), resolveHandle, and pictures."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.url = ""  # known once the server listens; pictures point there
        self.asked: list[list[str]] = []  # the keys of each call for posts or profiles, for tests to look at
        self._faults = faults
        self._world = world
        self.router = Router(
            {
                "/xrpc/app.bsky.feed.getPosts": self._get_posts,
                "/xrpc/app.bsky.feed.getAuthorFeed": self._get_author_feed,
                "/xrpc/app.bsky.actor.getProfiles": self._get_profiles,
                "/xrpc/app.bsky.graph.getList": self._get_list,
                "/xrpc/app.bsky.actor.getProfile": self._get_profile,
                "/xrpc/com.atproto.identity.resolveHandle": Repositories(world).resolve_handle,
            },
            {_IMAGES: self._image},
        )

    async def handle(self, request: Request) -> Response:
        response = await self.router(request)
        assert isinstance(response, Response)
        return response

    async def _get_posts(self, request: Request) -> Response:
        uris = request.query.get("uris", [])
        if not 1 <= len(uris) <= MAX_POSTS:
            return failure(400, "InvalidRequest", f"uris must have 1 to {MAX_POSTS} elements")
        for uri in uris:
            if not uri.startswith("at://"):
                return failure(400, "InvalidRequest", "uris must be at-uris")
        found = (self._world.post(uri) for uri in self._answered(uris))
        return answer({"posts": [self._post_view(post) for post in found if post is not None and not post.deleted]})

    async def _get_author_feed(self, request: Request) -> Response:
        """Their own newest posts; nothing of what they repost."""
        profile = self._profile(request.first("actor"))
        if profile is None or not profile.active:
            return failure(400, "InvalidRequest", "Profile not found")
        limit = min(100, int(request.first("limit", "50")))
        newest = list(reversed(self._world.records(profile.did, POST_NSID)))[:limit]
        author = self._basic(profile)
        posts = [
            {"uri": one.uri, "cid": one.cid, "author": author, "record": msgspec.json.decode(one.value)}
            for one in newest
        ]
        return answer({"feed": [{"post": post} for post in posts]})

    async def _get_profiles(self, request: Request) -> Response:
        actors = request.query.get("actors", [])
        if not 1 <= len(actors) <= MAX_PROFILES:
            return failure(400, "InvalidRequest", f"actors must have 1 to {MAX_PROFILES} elements")
        found = (self._profile(actor) for actor in self._answered(actors))
        return answer({"profiles": [self._detailed(p) for p in found if p is not None and p.active]})

    def _answered(self, keys: list[str]) -> list[str]:
        self.asked.append(keys)
        del self.asked[:-MAX_REMEMBERED]
        once = list(dict.fromkeys(keys))
        return once[::2] if self._faults.take("half", "appview") else once

    async def _get_list(self, request: Request) -> Response:
        """Made up: everybody's `follows` are a list."""
        did = request.first("list").removeprefix("at://").partition("/")[0]
        follows = [msgspec.json.decode(one.value)["subject"] for one in self._world.records(did, FOLLOW_NSID)]
        return answer({"items": [{"subject": {"did": one}} for one in follows[:100]]})

    async def _get_profile(self, request: Request) -> Response:
        profile = self._profile(request.first("actor"))
        if profile is None or profile.status == "deleted":
            return failure(400, "InvalidRequest", "Profile not found")
        if profile.status == "deactivated":
            return failure(400, "AccountDeactivated", "Account is deactivated")
        if not profile.active:
            return failure(400, "AccountTakedown", "Account has been suspended")
        return answer(self._detailed(profile))

    async def _image(self, request: Request) -> Response:
        """A picture of one's own colour for every name."""
        hue = zlib.crc32(request.path.encode()) / (1 << 32)
        red, green, blue = (round(255 * c) for c in colorsys.hls_to_rgb(hue, 0.6, 0.6))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3">'
            f'<rect width="4" height="3" fill="rgb({red},{green},{blue})"/>'
            '<circle cx="2" cy="1.5" r="1" fill="#fff" fill-opacity=".4"/></svg>'
        )
        return Response(svg.encode(), content_type="image/svg+xml")

    def _profile(self, actor: str) -> ProfileState | None:
        if is_did(actor):
            return self._world.profile(actor)
        person = self._world.by_handle(actor.lower())
        return self._world.profile(self._world.did(person)) if person is not None else None

    def _basic(self, profile: ProfileState) -> dict[str, Any]:
        view: dict[str, Any] = {"did": profile.did, "handle": profile.handle, "displayName": profile.display_name}
        if profile.avatar_cid:
            view["avatar"] = f"{self.url}{_IMAGES}avatar/plain/{profile.did}/{profile.avatar_cid}@jpeg"
        at = text.iso_us(self._world.start_us)
        uri = f"at://{profile.did}/app.bsky.actor.profile/self"
        view["labels"] = [{"src": profile.did, "uri": uri, "val": label, "cts": at} for label in profile.labels]
        view["createdAt"] = at
        return view

    def _detailed(self, profile: ProfileState) -> dict[str, Any]:
        return self._basic(profile) | {
            "description": profile.description,
            "indexedAt": text.iso_us(self._world.start_us),
            "followersCount": profile.followers,
            "followsCount": profile.follows,
            "postsCount": profile.posts,
        }

    def _post_view(self, post: PostState) -> dict[str, Any]:
        author = self._world.profile(post.did)
        assert author is not None
        record = msgspec.json.decode(post.record)
        view = {
            "uri": post.uri,
            "cid": post.cid,
            "author": self._basic(author),
            "record": record,
            "replyCount": post.replies,
            "repostCount": post.reposts,
            "likeCount": post.likes,
            "quoteCount": post.quotes,
            "indexedAt": text.iso_us(post.time_us),
            "labels": _self_labels(post, record),
        }
        if embed := self._embed_view(post.did, record.get("embed")):
            view["embed"] = embed
        return view

    def _embed_view(self, did: str, embed: dict[str, Any] | None) -> dict[str, Any] | None:
        if embed is None:
            return None
        kind = embed["$type"]
        if kind == "app.bsky.embed.images":
            return {"$type": f"{kind}#view", "images": [self._image_view(did, image) for image in embed["images"]]}
        if kind == "app.bsky.embed.video":
            cid = embed["video"]["ref"]["$link"]
            view = {
                "$type": f"{kind}#view",
                "cid": cid,
                "playlist": f"{self.url}{_IMAGES}watch/{did}/{cid}/playlist.m3u8",
            }
            return view | ({"aspectRatio": embed["aspectRatio"]} if "aspectRatio" in embed else {})
        if kind == "app.bsky.embed.external":
            external = {name: embed["external"].get(name, "") for name in ("uri", "title", "description")}
            return {"$type": f"{kind}#view", "external": external}
        if kind == "app.bsky.embed.record":
            return {"$type": f"{kind}#view", "record": self._quoted_view(embed["record"]["uri"])}
        return None

    def _image_view(self, did: str, image: dict[str, Any]) -> dict[str, Any]:
        cid = image["image"]["ref"]["$link"]
        view = {
            "thumb": f"{self.url}{_IMAGES}feed_thumbnail/plain/{did}/{cid}@jpeg",
            "fullsize": f"{self.url}{_IMAGES}feed_fullsize/plain/{did}/{cid}@jpeg",
            "alt": image.get("alt", ""),
        }
        return view | ({"aspectRatio": image["aspectRatio"]} if "aspectRatio" in image else {})

    def _quoted_view(self, uri: str) -> dict[str, Any]:
        quoted = self._world.post(uri)
        author = self._world.profile(quoted.did) if quoted is not None and not quoted.deleted else None
        if quoted is None or author is None:
            return {"$type": "app.bsky.embed.record#viewNotFound", "uri": uri, "notFound": True}
        return {
            "$type": "app.bsky.embed.record#viewRecord",
            "uri": uri,
            "cid": quoted.cid,
            "author": self._basic(author),
            "value": msgspec.json.decode(quoted.record),
            "indexedAt": text.iso_us(quoted.time_us),
        }


def _self_labels(post: PostState, record: dict[str, Any]) -> list[dict[str, str]]:
    values = record.get("labels", {}).get("values", [])
    at = text.iso_us(post.time_us)
    return [{"src": post.did, "uri": post.uri, "cid": post.cid, "val": v["val"], "cts": at} for v in values]
