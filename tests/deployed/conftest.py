"""One place for all tests of this folder: it takes ten seconds to set up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployed.hosts import why_not
from tests.deployed.place import Place
from tests.host.as_systemd import Activated


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = [item for item in items if "tests/deployed/" in item.nodeid]
    if here and (reason := why_not()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason=f"needs network namespaces: {reason}"))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"))
    try:
        yield place
    finally:
        place.close()


@pytest.fixture
def place(built: Place) -> Place:
    """As it should be, whatever the last test did: the tunnel is up, and both sides run."""
    built.tunnel.say()
    if type(built.home.process) is not Activated:
        built.home.stop()
        built.home.start()
    built.until_answered()
    return built
