"""`feedgen` with a note of every connection that its process opens and of every name that it looks up.

    python -m scripts.benchmarks._watched FILE run --set ...

Python tells an audit hook of each, before it happens, whichever library asks. uvloop is left out: it opens connections
in C, where nobody is told; what is asked for is the same without it.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
CONNECTIONS = frozenset({"socket.connect", "socket.sendto"})


def main() -> None:
    notes = open(sys.argv[1], "a", buffering=1)  # noqa: SIM115, as long as the process lives

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NAMES:
            notes.write(f"name {arguments[0]}\n")
        elif event in CONNECTIONS:
            address = arguments[1]
            to = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
            notes.write(f"connection {to}\n")

    sys.addaudithook(note)
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    sys.argv = ["feedgen", *sys.argv[2:]]
    runpy.run_module("feedgen", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
