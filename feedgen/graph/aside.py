"""What others said of posts and people: labels, and the operator's blocks.

Not part of the truth, which is what people said themselves, and not written into the days' arrays: it may come before
its post and be taken back at any time. Posts are two bitmaps; of people, the bits are put over their own flags
(`Graph.set_aside`). Changed by the event loop's thread; any thread may ask, since each call is one under the
interpreter's lock.
"""

from __future__ import annotations

from array import array

import numpy as np
from pyroaring import BitMap

from feedgen.graph.access import U16, U32
from feedgen.ingest.events import ADULT, HIDDEN


class Aside:
    """Posts that are hidden from everybody, and those that are for adults."""

    def __init__(self) -> None:
        self.hidden = BitMap()
        self.adult = BitMap()

    def set_post(self, post: int, hidden: bool, adult: bool) -> None:
        for bitmap, on in ((self.hidden, hidden), (self.adult, adult)):
            if on:
                bitmap.add(post)
            else:
                bitmap.discard(post)

    @property
    def empty(self) -> bool:
        return not (self.hidden or self.adult)

    def flags(self, posts: U32) -> U16:
        """HIDDEN and ADULT for each of these posts."""
        out = np.zeros(posts.size, np.uint16)
        if not posts.size:
            return out
        asked = BitMap(array("I", posts.tobytes()))  # three times as fast as from the array of numpy's
        for bitmap, flag in ((self.hidden, HIDDEN), (self.adult, ADULT)):
            if found := asked & bitmap:
                ascending = np.frombuffer(found.to_array(), np.uint32)
                at = np.minimum(np.searchsorted(ascending, posts), ascending.size - 1)
                out[ascending[at] == posts] |= flag
        return out

    def keep_days(self, slots: set[int]) -> None:
        """Days that left the window go: their numbers will mean other posts."""
        for bitmap in (self.hidden, self.adult):
            for slot in range(256):
                if slot not in slots:
                    bitmap.remove_range(slot << 24, slot + 1 << 24)


NOTHING = Aside()
