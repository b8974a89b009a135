"""`/profile.json`: where the running service spends its processor time, as stacks, for `feedgen profile`.

The service samples itself (core/sampling.py). py-spy would see as much, but needs root, and the service's sandbox keeps
it out.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from feedgen.core.errors import FeedgenError
from feedgen.core.sampling import sample

PROFILE_PATH: Final = "/profile.json"
TURN_S: Final = 5.0  # of one question


class ProfileRoute:
    """One at a time: two would sample each other."""

    def __init__(self) -> None:
        self._busy = False

    async def answer(self, request: Request) -> Response:
        text = request.query_params.get("seconds", "")
        if not re.fullmatch(r"\d{1,2}(\.\d{1,3})?", text) or not 0 < float(text) <= 2 * TURN_S:
            return PlainTextResponse(f"give seconds=<a number up to {2 * TURN_S:g}>\n", 400)
        if self._busy:
            return PlainTextResponse("another profile is being made\n", 503)
        self._busy = True
        try:
            stacks = await asyncio.to_thread(sample, float(text))
        except FeedgenError as error:
            return PlainTextResponse(f"{error.message}\n", 503)
        finally:
            self._busy = False
        return JSONResponse(stacks, headers={"cache-control": "no-store"})
