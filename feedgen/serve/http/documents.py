"""Answers that never change while the service runs: who we are, and what we publish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from feedgen.core import ids


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """Who the service is. `publisher_did` is the account whose repository holds the feed records."""

    did: str
    hostname: str
    publisher_did: str = ""
    privacy_policy: str = ""
    terms_of_service: str = ""

    @property
    def owner_did(self) -> str:
        """Before anything is published, the service itself owns its feeds."""
        return self.publisher_did or self.did

    def feed_uri(self, name: str) -> str:
        return f"at://{self.owner_did}/{ids.FEED_NSID}/{name}"

    def feed_name(self, uri: str) -> str | None:
        """The name in an at-uri of one of our feeds; None if it isn't under our publisher."""
        parsed = ids.parse_at_uri(uri)
        if parsed is None or parsed.did != self.owner_did or parsed.collection != ids.FEED_NSID:
            return None
        return parsed.rkey

    @property
    def is_our_did_web(self) -> bool:
        """Only a did:web of this very host has its document here; a did:plc has it in the directory."""
        return self.did == "did:web:" + self.hostname.replace(":", "%3A")


def did_document(service: ServiceIdentity) -> bytes:
    return msgspec.json.encode(
        {
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": service.did,
            "service": [
                {
                    "id": "#bsky_fg",
                    "type": "BskyFeedGenerator",
                    "serviceEndpoint": f"https://{service.hostname}",
                }
            ],
        }
    )


def description(service: ServiceIdentity, feeds: Iterable[str]) -> bytes:
    answer: dict[str, object] = {"did": service.did, "feeds": [{"uri": service.feed_uri(name)} for name in feeds]}
    links = {"privacyPolicy": service.privacy_policy, "termsOfService": service.terms_of_service}
    given = {name: link for name, link in links.items() if link}
    if given:
        answer["links"] = given
    return msgspec.json.encode(answer)
