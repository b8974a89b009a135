"""The stylesheet, the scripts and the icon: read once, served under names that hold a hash of their content.

A name never means two contents, so browsers may keep what they have for a year, and an update is seen at once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from feedgen.serve.http.routing import Endpoint, Row

FOLDER: Final = Path(__file__).parent / "static"
HEADERS: Final = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Static:
    def __init__(self, folder: Path = FOLDER) -> None:
        self._urls: dict[str, str] = {}
        self.rows: list[Row] = []
        for path in sorted(path for path in folder.iterdir() if path.suffix in TYPES):
            content = path.read_bytes()
            url = f"/static/{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
            self._urls[path.name] = url
            self.rows.append(Row(url, _giver(content, TYPES[path.suffix]), "static"))

    def url(self, name: str) -> str:
        """Of a file by its plain name."""
        return self._urls[name]


def _giver(content: bytes, media_type: str) -> Endpoint:
    async def give(request: Request) -> Response:
        return Response(content, 200, HEADERS, media_type)

    return give
