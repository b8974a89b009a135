"""Prints what docs/doctor.md shows: the doctor in a healthy world, and with five things planted in it.

.venv/bin/python -m tests.host.show_doctor
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.host.small_pds import PASSWORD
from tests.host.world import HOSTNAME, Home, some_home


def show(home: Home) -> None:
    command = [sys.executable, "-m", "feedgen", "doctor", "--connect-to", home.front.address]
    for given in home.given():
        command += ["--set", given]
    more = {"PATH": f"{home.bin}:{os.environ['PATH']}", "SSL_CERT_FILE": str(home.authority.file)}
    env = os.environ | more | {"FEEDGEN_APP_PASSWORD": PASSWORD}
    done = subprocess.run(command, capture_output=True, text=True, cwd=home.folder, env=env, check=False)
    print(done.stdout.replace(str(home.folder), "/var/lib/feedgen") + f"exit code {done.returncode}\n", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, some_home(Path(folder)) as home:
        show(home)
        home.front.context = home.authority.context(HOSTNAME, days=5.5)
        home.directory.date_s = 90
        home.tailscale(ping="pong from vps (100.64.0.2) via DERP(fra) in 45ms")
        home.systemctl(feedgen_backup_service={"LoadState": "loaded", "Result": "exit-code"})
        del home.pds.records["popular"]
        show(home)


if __name__ == "__main__":
    main()
