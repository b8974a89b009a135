"""The units put into another root folder, by commands of real environments; systemd's own tools judge them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import feedgen
from feedgen.core.errors import FeedgenError
from feedgen.host.install import Work, bind_of, environment, protect_home, quoted, units
from tests.host.test_systemd import MAX_EXPOSURE

ROOT = Path(feedgen.__file__).parent.parent
UNITS = Path("etc/systemd/system")
PATIENCE_S = 120


def other_environment(folder: Path) -> Path:
    """A real virtual environment that has what this one has; its `feedgen`."""
    venv.create(folder, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "all.pth").write_text(f"{here}\n{ROOT}\n")
    command = folder / "bin" / "feedgen"
    command.write_text(f"#!{folder}/bin/python\nfrom feedgen.cli import main\nmain()\n")
    command.chmod(0o755)
    return command


def run(command: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([command, *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S)


def exposure(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split("Overall exposure level")[1].split(":")[1].split()[0])


@pytest.mark.needs("systemd-analyze", "systemctl", "systemd-sysusers")
@pytest.mark.parametrize(
    "place", ["opt/feedgen", "home/me/.local/share/uv/tools/feedgen", "home/me/.local/pipx/venvs/feedgen"]
)
def test_installed_and_removed(tmp_path: Path, place: str) -> None:
    command = other_environment(tmp_path / place)
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    settings = tmp_path / "feedgen.toml"
    settings.write_text('[service]\nbind = "100.64.0.7:8090"\n')
    done = run(command, "install", "--config", settings, "--backup", "/mnt/disk/feedgen", "--root", root)
    assert done.returncode == 0, done.stderr
    placed = {path.name: path.read_text() for path in (root / UNITS).glob("*.*") if path.is_file()}
    assert set(placed) == {
        f"feedgen{part}" for part in (".service", ".socket", "-backup.service", "-backup.timer", "-verify.service")
    } | {"feedgen-verify.timer"}
    assert f"ExecStart={command} run --config /etc/feedgen/feedgen.toml" in placed["feedgen.service"]
    assert "ListenStream=100.64.0.7:8090" in placed["feedgen.socket"]
    assert f"ExecStart={command} backup" in placed["feedgen-backup.service"]
    assert "ReadWritePaths=/mnt/disk/feedgen" in placed["feedgen-backup.service"]
    assert (root / "mnt/disk/feedgen").is_dir()
    assert "feedgen:" in (root / "etc/passwd").read_text()
    installed = (root / "etc/feedgen/feedgen.toml").read_text()
    assert installed == settings.read_text() + '\n[store]\ndir = "/var/lib/feedgen/data"\n'
    assert (root / UNITS / "multi-user.target.wants/feedgen.service").is_symlink()
    assert (root / UNITS / "timers.target.wants/feedgen-backup.timer").is_symlink()
    units_are_understood(root)
    assert exposure(root / UNITS / "feedgen.service") <= MAX_EXPOSURE

    # Again: nothing to do. With other settings: those count, and the old ones are kept.
    assert "writing" not in run(command, "install", "--backup", "/mnt/disk/feedgen", "--root", root).stdout
    settings.write_text('[service]\nbind = "100.64.0.8:8090"\n')
    run(command, "install", "--config", settings, "--root", root)
    assert "100.64.0.8" in (root / UNITS / "feedgen.socket").read_text()
    assert "100.64.0.7" in (root / "etc/feedgen/feedgen.toml.before").read_text()

    data = root / "var/lib/feedgen/data/names.db"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"precious")
    assert "would remove" in run(command, "uninstall", "--dry-run", "--root", root).stdout
    assert (root / UNITS / "feedgen.service").exists()
    done = run(command, "uninstall", "--root", root)
    assert done.returncode == 0 and "Stays" in done.stdout, done.stderr
    assert [path for path in (root / UNITS).rglob("*feedgen*")] == []
    assert data.read_bytes() == b"precious" and (root / "etc/feedgen/feedgen.toml").exists()
    assert (root / "mnt/disk/feedgen").is_dir()
    assert "no service here" in run(command, "uninstall", "--root", root).stdout


def units_are_understood(root: Path) -> None:
    placed = sorted(str(path) for path in (root / UNITS).glob("feedgen*.*"))
    env = os.environ | {"SYSTEMD_UNIT_PATH": f"{root / UNITS}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *placed], capture_output=True, text=True, env=env, timeout=PATIENCE_S
    )
    assert done.returncode == 0 and "feedgen" not in done.stderr, done.stderr


def test_an_environment_below_home_is_all_of_home_that_is_seen() -> None:
    tool = Path("/home/me/.local/share/uv/tools/feedgen")
    python = Path("/home/me/.local/share/uv/python/cpython-3.13")
    assert protect_home([Path("/opt/feedgen"), Path("/usr"), Path("/opt/feedgen/lib")], None) == "ProtectHome=yes"
    lines = protect_home([tool, python, tool / "lib"], None).splitlines()
    assert lines == ["ProtectHome=tmpfs", f"BindReadOnlyPaths={tool}", f"BindReadOnlyPaths={python}"]
    assert "BindPaths=/home/me/backup" in protect_home([Path("/opt/feedgen")], Path("/home/me/backup"))


@pytest.mark.needs("systemd-analyze")
def test_so_seen_the_service_is_still_locked_in(tmp_path: Path) -> None:
    places = [Path("/home/me/feedgen/.venv"), Path("/usr"), Path("/home/me/feedgen")]
    for name, text in units(places, "", Path("/mnt/backup")).items():
        (tmp_path / name).write_text(text)
    for name in ("feedgen.service", "feedgen-backup.service", "feedgen-verify.service"):
        assert exposure(tmp_path / name) <= MAX_EXPOSURE, name


def test_paths_that_a_unit_cannot_have() -> None:
    assert quoted(Path("/opt/50%")) == "/opt/50%%"
    with pytest.raises(FeedgenError, match="without spaces"):
        quoted(Path("/opt/my feeds"))


def test_where_systemd_listens_follows_the_settings(tmp_path: Path) -> None:
    assert bind_of(None, tmp_path / "none") == "127.0.0.1:8090"
    (tmp_path / "a").write_text('[service]\nbind = "unix:/run/feedgen/public"\n')
    (tmp_path / "b").write_text('[service]\nbind = "127.0.0.1:0"\n')
    assert bind_of(None, tmp_path / "a") == "/run/feedgen/public"
    assert bind_of(tmp_path / "b", tmp_path / "a") == ""


def test_only_root_changes_this_system() -> None:
    Work(Path("/"), dry_run=True)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(FeedgenError, match="Only root"):
            Work(Path("/"), dry_run=False)
    finally:
        os.seteuid(user)


def test_a_wheel_has_the_units(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_S)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if name.startswith("feedgen/host/units/")}
    assert names == {f"feedgen/host/units/{path.name}" for path in (ROOT / "systemd").iterdir()}
    assert environment()[0] == Path(sys.prefix)
