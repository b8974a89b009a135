"""A `tailscale` for PATH that plays what a release of the real one said; the files beside this one are the recordings.

Each says where it comes from. It answers the very argv that was recorded, and ends with 97 at any other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RECORDINGS = sorted(path.stem for path in Path(__file__).parent.glob("*.json"))

_PLAYER = """#!{python} -IS
import json, sys
answer = json.load(open({recording!r}))["answers"].get(" ".join(sys.argv[1:]))
if answer is None:
    sys.exit(97)
sys.stdout.write(answer["out"])
sys.stderr.write(answer["err"])
sys.exit(answer["code"])
"""


def recorded(name: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text())["answers"]
    return answers


def put(folder: Path, name: str) -> str:
    """Puts the program there; PATH with the folder before what systems have."""
    program = folder / "tailscale"
    recording = str(Path(__file__).parent / f"{name}.json")
    program.write_text(_PLAYER.format(python=sys.executable, recording=recording))
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"
