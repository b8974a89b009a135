"""What is known of every person, by number: flags, and how many ratings in the window. Room for all that can come is
reserved at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.graph.access import U8, U32
from feedgen.graph.memory import reserve

MAX_PEOPLE: Final = 1 << 27  # 43M repositories exist; pages are only touched where there are people


class People:
    def __init__(self) -> None:
        self.flags: U8 = reserve(np.uint8, MAX_PEOPLE)
        self.ratings: U32 = reserve(np.uint32, MAX_PEOPLE)
        self.top = 0  # nobody from here on has ratings
