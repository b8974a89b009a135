"""Reads an archive until somebody kills it: `python -m tests.archive.child FOLDER URL NOW_US LAST_US`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.archive.telling import store


async def main(folder: Path, url: str, now_us: int, last_us: int) -> None:
    async with store(folder, (url, now_us), days=5) as reading:
        print("reading", flush=True)
        await reading.until(last_us, 120)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
