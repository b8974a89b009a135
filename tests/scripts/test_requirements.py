"""The locks: hashed, complete, without a host's name, and dev holds all of run."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN, DEV = ROOT / "requirements" / "run.txt", ROOT / "requirements" / "dev.txt"


def pins(path: Path) -> dict[str, set[str]]:
    """`name==version ; marker`, with its hashes."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in path.read_text().splitlines():
        if pin := re.match(r"([a-z0-9-]+==\S+(?: ; [^\\]+)?)", line):
            name = pin[1].strip()
            found[name] = set()
        elif line.startswith("    --hash="):
            found[name].add(line.strip(" \\"))
    return found


@pytest.mark.parametrize("path", [RUN, DEV], ids=["run", "dev"])
def test_every_package_is_pinned_and_hashed(path: Path) -> None:
    assert len(pins(path)) > 20
    for name, hashes in pins(path).items():
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h) for h in hashes), name


@pytest.mark.parametrize("path", [RUN, DEV], ids=["run", "dev"])
def test_no_host_is_named(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text


def test_whoever_has_dev_has_run() -> None:
    dev = pins(DEV)
    for name, hashes in pins(RUN).items():
        assert dev.get(name) == hashes, name


def test_the_locks_follow_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    for path, wanted in (
        (RUN, project["project"]["dependencies"] + groups["build"]),
        (DEV, project["project"]["dependencies"] + groups["build"] + groups["dev"]),
    ):
        locked = {pin.partition("==")[0] for pin in pins(path)}
        for requirement in wanted:
            name = re.split(r"[<>=;\[ ]", requirement, maxsplit=1)[0].lower()
            assert name in locked, f"{name}: run scripts/lock"


@pytest.mark.parametrize(("folder", "more_than"), [("appview/network", 500), ("web/axe", 0)])
def test_the_npm_locks_are_hashed_and_name_no_registry(folder: str, more_than: int) -> None:
    lock = json.loads((ROOT / "tests" / folder / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert len(packages) > more_than
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, f"{name}: npm install --package-lock-only --omit-lockfile-registry-resolved"
