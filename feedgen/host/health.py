"""How the service fares, in figures for monitors and in one line for `systemctl status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from feedgen.core.clock import Clock
from feedgen.core.ids import US_PER_S
from feedgen.feeds.list_feed import fallbacks
from feedgen.graph.archive import Archive
from feedgen.host import measures
from feedgen.ingest.jetstream import Client, State
from feedgen.ingest.pipeline import Pipeline
from feedgen.rank.pool import lists_made

if TYPE_CHECKING:
    from feedgen.archive.source import Source

STALE_US: Final = 600 * US_PER_S


@dataclass(frozen=True, slots=True)
class Vitals:
    archive: Archive
    client: Client
    pipeline: Pipeline
    clock: Clock
    source: Source | None = None  # Jetstream's archive

    def behind_s(self) -> float | None:
        """How old the newest event in the store is; None before the first."""
        last_us = self.pipeline.status.last_us
        return max(0, self.clock.now_us() - last_us) / US_PER_S if last_us else None

    def measure(self) -> None:
        """Brings the metrics of progress up to date."""
        measures.measure_progress(self.pipeline.status.last_us, self.archive.names.count)

    def fields(self) -> dict[str, object]:
        """What `/xrpc/_health` says. The network's troubles are told, but are no reason to call us ill."""
        status, applied, behind_s = self.client.status, self.pipeline.status, self.behind_s()
        return {
            "ok": True,
            "jetstream": {
                "state": str(status.state),
                "host": status.host,
                "wire": status.wire,
                "behind_s": None if behind_s is None else round(behind_s, 1),
                "events_s": round(status.events_s, 1),
                "events": applied.events,
                "dropped": applied.dropped,
                "gaps": status.gaps_total,
                "error": status.last_error,
            },
            **({} if self.source is None else {"archive": self.source.progress.fields()}),
            "store": {
                "days": len(self.archive.graph.days),
                "people": self.archive.names.count,
                "whole": self.archive.whole,  # today's log is read, too
                "full": applied.waiting_for_room,
            },
            "lists": {
                **{labels[0]: int(count) for labels, count in lists_made.samples()},
                **{f"instead: {', '.join(labels)}": int(count) for labels, count in fallbacks.samples()},
            },
            "fresh": status.state == State.LIVE and behind_s is not None and behind_s * US_PER_S < STALE_US,
        }

    def line(self) -> str:
        network, behind_s = self.client.status, self.behind_s()
        behind = "nothing heard yet" if behind_s is None else f"{behind_s:.1f} s behind"
        kept = f"{len(self.archive.graph.days)} days, {self.archive.names.count:,} people"
        return f"{network.state}: {behind}, {network.events_s:.0f} events/s; {kept}"
