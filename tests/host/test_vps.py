"""What `feedgen vps` writes: Caddy and systemd understand it, its script puts it in place and takes it away, and a
Python that has nothing installed runs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from feedgen import cli
from feedgen.core import budget
from feedgen.core.fallback import SKELETON
from feedgen.host import vps
from feedgen.rank.pool import RankPool
from feedgen.serve.http import routes
from feedgen.serve.who import sign_in

PAGE = {"feed": [{"post": "at://did:plc:a/app.bsky.feed.post/1"}]}
ENDS = ["--home", "100.64.0.7", "--vps", "100.64.0.2"]


def write(folder: Path, *more: str) -> tuple[int, str]:
    given = ["vps", str(folder), "--url", "http://127.0.0.1:1", "--set", "service.hostname=feed.example.com", *more]
    done = CliRunner().invoke(cli.cli, given)
    return done.exit_code, done.output


def install(folder: Path, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"DESTDIR": str(root)}
    return subprocess.run(["sh", str(folder / "install.sh"), *arguments], env=env, capture_output=True, text=True)


def placed(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.needs("caddy")
def test_the_script_puts_everything_in_place_and_takes_it_away(tmp_path: Path) -> None:
    folder, root = tmp_path / "vps", tmp_path / "root"
    code, said = write(folder, *ENDS)
    assert code == 0 and "scp -r" in said and 'proxy_url = "http://100.64.0.2:8118"' in said, said
    (folder / "fallback").mkdir()
    (folder / "fallback" / "kept.json").write_text("{}")
    old = root / "etc" / "caddy" / "Caddyfile"
    old.parent.mkdir(parents=True)
    old.write_text("# what was there before\n")
    for _ in range(2):  # it may be run again
        done = install(folder, root)
        assert done.returncode == 0, done.stdout + done.stderr
        dropin = "etc/systemd/system/caddy.service.d/feedgen.conf"
        unit, program = "etc/systemd/system/feedgen-egress.service", "usr/local/lib/feedgen/feedgen-egress.pyz"
        assert placed(root) == {
            "etc/caddy/Caddyfile",
            "etc/caddy/Caddyfile.before-feedgen",
            dropin,
            unit,
            program,
            "var/lib/feedgen-fallback/kept.json",
        }
    assert "FEEDGEN_UPSTREAM=100.64.0.7:8090" in (root / dropin).read_text()
    assert "FEEDGEN_SITE=feed.example.com" in (root / dropin).read_text()
    assert "--bind 100.64.0.2:8118 --allow 100.64.0.7" in (root / unit).read_text()
    assert install(folder, root, "--undo").returncode == 0
    assert placed(root) == {"etc/caddy/Caddyfile"} and old.read_text() == "# what was there before\n"


@pytest.mark.needs("caddy")
def test_what_caddy_does_not_take_changes_nothing(tmp_path: Path) -> None:
    folder, root = tmp_path / "vps", tmp_path / "root"
    write(folder, *ENDS)
    (folder / "Caddyfile").write_text("{$FEEDGEN_SITE} {\n\treverse_proxi x\n}\n")
    done = install(folder, root)
    assert done.returncode == 1 and "reverse_proxi" in done.stderr and not root.exists()


def test_the_one_file_needs_nothing_but_python(tmp_path: Path) -> None:
    write(tmp_path / "vps", *ENDS)
    command = [sys.executable, "-I", "-S", str(tmp_path / "vps" / "feedgen-egress.pyz"), "--bind", "127.0.0.1:0"]
    command += ["--allow", "127.0.0.1", "--fallback", str(tmp_path / "kept")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert process.stderr is not None
        found = re.search(r"listening on (\S+) for 127\.0\.0\.1", process.stderr.readline())
        assert found is not None
        answer = httpx.put(f"http://{found[1]}/fallback", json={SKELETON: PAGE}, trust_env=False)
        assert answer.status_code == 204 and (tmp_path / "kept" / SKELETON[1:]).exists()
        assert httpx.get(f"http://{found[1]}/", trust_env=False).status_code == 405
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    command[command.index("127.0.0.1:0")] = "0.0.0.0:8118"
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "everybody's" in done.stderr


@pytest.mark.needs("systemd-analyze")
def test_systemd_understands_the_unit_and_finds_it_safe(tmp_path: Path) -> None:
    write(tmp_path, *ENDS)
    unit = tmp_path / "feedgen-egress.service"
    unit.write_text(unit.read_text().replace("/usr/bin/python3", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert done.returncode == 0 and "feedgen-egress.service:" not in done.stderr, done.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_vps_becomes_the_proxy_that_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = write(tmp_path / "vps", *ENDS)
    assert code == 0 and '   [service]\n   trusted_proxies = ["100.64.0.2"]\n   [identity]' in said
    config = tmp_path / "feedgen.toml"
    config.write_text('# mine\n[service]\nbind = "100.64.0.7:8090"\n')
    code, said = write(tmp_path / "vps", *ENDS)
    assert code == 0 and "names the VPS already" in said
    text = config.read_text()
    assert text.startswith("# mine\n") and 'trusted_proxies = ["100.64.0.2"]\n' in text
    code, said = write(tmp_path / "vps", *ENDS, "--set", "service.trusted_proxies=100.64.0.0/10")
    assert code == 0 and "trusted_proxies" not in said and config.read_text() == text
    config.chmod(0o400)
    code, said = write(tmp_path / "vps", "--home", "100.64.0.7", "--vps", "100.64.0.3")
    assert code == 0 and '["100.64.0.2", "100.64.0.3"]' in said + config.read_text()


def test_everything_ends_before_the_appview_leaves() -> None:
    """Caddy's times are read from its file, and are those of the budget."""
    text = (Path(vps.__file__).parent / "files" / "Caddyfile").read_text()
    assert text == vps.caddyfile()
    names = ("lb_try_duration", "dial_timeout", "response_header_timeout", "health_timeout")
    found = ([int(ms) / 1000 for ms in re.findall(rf"{name} (\d+)ms\n", text)] for name in names)
    (told_retry, retry), (_, dial), (told_wait, wait), (health,) = found
    # One slow answer must not count as a PC that is off: readers would get files, and what apps tell would be lost.
    assert health >= budget.HOME_S
    assert retry + dial + wait + budget.NETWORK_S <= budget.APPVIEW_S
    assert told_retry + dial + wait + budget.NETWORK_S <= budget.PDS_S >= dial + told_wait + budget.NETWORK_S
    # Nothing at home takes longer than Caddy waits, less the way.
    assert wait - budget.TUNNEL_S >= budget.HOME_S == routes.ANSWER_TIMEOUT_S
    for within in (budget.RANK_S, budget.MET_S, budget.KEY_S, budget.BODY_S, 2 * budget.OUTSIDE_S, sign_in.ASK_S):
        assert 0.5 < within < budget.HOME_S
    assert budget.MET_S < budget.RANK_S == RankPool(1).deadline_s


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "vps"
    code, said = write(folder, "--home", "100.64.0.7")
    assert code == 1 and "--vps is missing" in said and "[tunnel]" in said
    code, said = write(folder, "--home", "home", "--vps", "100.64.0.2")
    assert code == 1 and "'home' is no address" in said
    code, said = write(folder, *ENDS, "--set", "service.hostname=localhost")
    assert code == 1 and "public name" in said
    code, said = write(folder, *ENDS, "--set", "service.bind=unix:/run/x")
    assert code == 1 and "fixed one" in said
