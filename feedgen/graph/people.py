"""What is known of every person, by number: flags, and how many ratings in the window. Room for all that can come is
reserved at once.
"""

from __future__ import annotations

import numpy as np

from feedgen.graph.access import U8, U32
from feedgen.graph.memory import reserve
from feedgen.store.names import MAX_PEOPLE


class People:
    """Pages are only touched where there are people. Numbers beyond MAX_PEOPLE, which an older version gave, are left
    out of the arrays.
    """

    def __init__(self) -> None:
        self.flags: U8 = reserve(np.uint8, MAX_PEOPLE)
        self.ratings: U32 = reserve(np.uint32, MAX_PEOPLE)
        self.top = 0  # nobody from here on has ratings
