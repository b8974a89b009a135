"""One demo for all tests of pages, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.browser import Demo, axe_script, chromium, demo_in


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo_in(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer than a module: while it is open its event loop runs in this thread, and others' tests need one."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def axe() -> str:
    return axe_script()
