"""For You, but only posts with a video."""

from __future__ import annotations

from dataclasses import replace

from feedgen.feeds.contract import VIDEO_FEED
from feedgen.feeds.for_you import ForYou
from feedgen.ingest.events import VIDEO
from feedgen.rank.listing import ListRules


class VideosForYou(ForYou):
    name = "videos-for-you"
    title = "Videos For You"
    description = "Videos that people who like what you like are liking now."
    content_mode = VIDEO_FEED
    early = True  # few posts are videos: look for them among all candidates, not among the best

    @property
    def rules(self) -> ListRules:
        return replace(self.services.rules, require=self.services.rules.require | VIDEO)
