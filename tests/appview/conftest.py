"""Started once for the module that needs it, and stopped after it: the other tests have the machine to themselves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appview.bluesky import Network, network, postgres
from tests.appview.front import Front
from tests.appview.town import Town, publish, settled_town
from tests.process import Feedgen

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".appview"
INSTALL_S = 1800.0


@pytest.fixture(scope="module")
def packages() -> Path:
    failed = CACHE / "failed"
    if failed.exists():
        pytest.fail(f"{failed.read_text()}\nTry again with tests/appview/install.", pytrace=False)
    done = subprocess.run([HERE / "install"], capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Front() as front:
        yield front
        kept = [
            {"method": e.method, "query": e.query, "status": e.status, "type": e.content_type, "body": e.body.decode()}
            for e in front.exchanges
        ]
        # Of these tests/serve/exchanges.json is a sample.
        (CACHE / "exchanges.json").write_text(json.dumps(kept, indent=1))


@pytest.fixture(scope="module")
def bluesky(packages: Path, front: Front) -> Iterator[Network]:
    with postgres() as database, network(packages, database, front.url) as found:
        yield found


@pytest.fixture(scope="module")
def town(bluesky: Network, front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    publisher = bluesky.join("publisher")
    publish(publisher, bluesky.feed_did)
    authors, likers, seeds, posts = settled_town(bluesky)
    with started(bluesky, tmp_path_factory.mktemp("feedgen"), bluesky.feed_did, publisher.did) as feedgen:
        front.feed_url = feedgen.url
        town = Town(bluesky, front, feedgen, publisher, authors, likers, seeds, posts)
        town.settle()
        yield town
        code, _ = feedgen.stop()
        assert code == 0
        errors = [line for line in feedgen.log if line.get("level") in ("error", "critical")]
        assert errors == []


def started(bluesky: Network, folder: Path, did: str, publisher_did: str, plc: str = "") -> Feedgen:
    """`feedgen run` with the settings that a real one has; only the hosts are others."""
    return Feedgen(
        folder,
        service__hostname="localhost",
        service__did=did,
        service__publisher_did=publisher_did,
        jetstream__urls=bluesky.jetstream,
        jetstream__wire="v1",
        identity__plc_url=plc or bluesky.plc,
        identity__trusted_pds=bluesky.pds,
        appview__url=bluesky.appview,
        labels__enabled="true",
        labels__urls=bluesky.labeler,
    )
