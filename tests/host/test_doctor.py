"""The doctor in a world where all is well, and then with one thing after another planted in it."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.config import read_settings
from feedgen.core.settings import Settings
from feedgen.host.doctor import inside, machine, network, outside
from feedgen.host.doctor.command import examine
from feedgen.host.doctor.finding import Finding, failure, ok, warning, worst
from feedgen.serve.out.egress import Egress, Rules
from feedgen.store.sqlite import checkpoint, open_writer
from tests.host.small_pds import PASSWORD
from tests.host.world import DID, HOSTNAME, Home, Site, TlsFront, published, some_home
from tests.process import Feedgen
from tests.serve.accounts import Keypair

GIB = machine.GIB
# How fast and how full this machine is says nothing about the code.
OF_THE_MACHINE = {"memory", "disk space", "disk speed", "open files"}
DEAD = "ws://127.0.0.1:9"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with some_home(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture
def home(world: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Healthy again for each test."""
    monkeypatch.setenv("PATH", f"{world.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("SSL_CERT_FILE", str(world.authority.file))
    world.systemctl()
    world.tailscale()
    published(world.pds)
    world.pds.refuse.clear()
    world.directory.date_s = 0
    world.front.context = world.authority.context(HOSTNAME)
    world.front.upstream = str(world.settings["service.bind"])
    return world


def look(home: Home, signed: bool = False, **changes: object) -> list[Finding]:
    if signed:
        os.environ["FEEDGEN_APP_PASSWORD"] = PASSWORD
    loaded = read_settings(Settings, env={}, folder=home.folder, given=home.given(**changes))
    return list(examine(loaded, home.front.address, None))


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level != "ok" and finding.check not in OF_THE_MACHINE]


def only(findings: list[Finding], check: str, level: str) -> Finding:
    """The one thing that is wrong."""
    assert [(found.check, found.level) for found in bad(findings)] == [(check, level)], bad(findings)
    [found] = bad(findings)
    assert found.advice
    return found


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "feedgen", "doctor", "--connect-to", home.front.address, *words]
    for given in home.given():
        command += ["--set", given]
    env = os.environ | {"FEEDGEN_APP_PASSWORD": PASSWORD}
    return subprocess.run(command, capture_output=True, text=True, cwd=home.folder, timeout=120, env=env)


def test_all_is_well(home: Home) -> None:
    for _ in range(3):  # a machine that is very busy looks ill for a moment
        done = run(home, "--json")
        told = json.loads(done.stdout)
        findings = [Finding(**finding) for finding in told["findings"]]
        if not bad(findings):
            break
    assert bad(findings) == []
    assert done.returncode == told["exit_code"] == worst(findings)
    checks = {finding.check for finding in findings}
    assert checks >= OF_THE_MACHINE | {"settings", "python", "packages", "systemd", "data", "service", "jetstream lag"}
    assert checks >= {"jetstream", "plc", "appview", "clock", "tunnel", "dns", "certificate", "did.json"}
    assert checks >= {"description", "request", "records"}
    [request] = [finding.said for finding in findings if finding.check == "request"]
    assert "signed by publisher.example" in request
    assert PASSWORD not in done.stdout + done.stderr


def test_lines_for_people_and_the_exit_code(home: Home) -> None:
    del home.pds.records["popular"]
    done = run(home)
    assert done.returncode == 2 and done.stderr == ""
    assert "popular is not published\n" in done.stdout and "-> Type: feedgen publish\n" in done.stdout
    assert "1 failures" in done.stdout.splitlines()[-1]
    assert worst([]) == worst([ok("x", "")]) == 0
    assert worst([ok("x", ""), warning("x", "", "")]) == 1
    assert worst([failure("x", "", ""), warning("x", "", "")]) == 2


# --- one fault at a time, in the whole


def test_settings_that_are_wrong_end_the_look_at_what_they_name(home: Home) -> None:
    findings = look(home, store__retention_days="none")
    assert "retention_days" in only(findings, "settings", "failure").said
    assert "data" not in {finding.check for finding in findings}


def test_a_network_that_is_away(home: Home) -> None:
    first = str(home.settings["jetstream.urls"]).split(",")[0]
    found = only(look(home, jetstream__urls=f"{DEAD},{first}"), "jetstream", "warning")
    assert "127.0.0.1:9" in found.said
    assert only(look(home, jetstream__urls=DEAD), "jetstream", "failure")
    assert only(look(home, appview__url="http://127.0.0.1:9"), "appview", "warning")
    assert only(look(home, labels__enabled="true", labels__urls=DEAD), "labels", "warning")
    assert only(look(home, identity__trusted_pds="http://127.0.0.1:9"), "pds", "warning")
    given = {"identity__pds": "proxy", "identity__proxy_url": "http://127.0.0.1:9"}
    assert only(look(home, **given), "proxy", "warning")


def test_a_directory_that_is_away(home: Home) -> None:
    findings = bad(look(home, identity__plc_url="http://127.0.0.1:9"))
    # It is also where the publisher's PDS is found.
    assert [(finding.check, finding.level) for finding in findings] == [("plc", "failure"), ("records", "failure")]


@pytest.mark.parametrize(("off_s", "level"), [(20, "warning"), (-4000, "failure")])
def test_a_clock_that_is_wrong(home: Home, off_s: float, level: str) -> None:
    home.directory.date_s = off_s
    assert ("behind" if off_s > 0 else "ahead") in only(look(home), "clock", level).said


def test_a_service_that_is_not_running(home: Home) -> None:
    assert "nothing answers" in only(look(home, service__bind="127.0.0.1:9"), "service", "failure").said


def test_the_address_is_what_the_socket_unit_says(home: Home) -> None:
    bind = home.settings["service.bind"]
    home.systemctl(feedgen_socket={"ActiveState": "active", "Listen": f"{bind} (Stream)"})
    assert bad(look(home, service__bind="127.0.0.1:9")) == []


def test_the_address_is_looked_up_in_the_tunnel(home: Home) -> None:
    port = str(home.settings["service.bind"]).rpartition(":")[2]
    home.tailscale(BackendState="Stopped")
    found = bad(look(home, service__bind=f"tailscale:{port}", service__trusted_proxies="100.64.0.2"))
    assert [finding.check for finding in found] == ["service", "tunnel"]
    assert all("stopped" in finding.said for finding in found)


def test_systemd(home: Home) -> None:
    failed = {"LoadState": "loaded", "ActiveState": "failed", "Result": "watchdog"}
    home.systemctl(feedgen_service=failed)
    assert "watchdog" in only(look(home), "systemd", "failure").said
    home.systemctl(feedgen_service={"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "enabled"})
    assert "systemctl start" in only(look(home), "systemd", "failure").advice
    active = {"LoadState": "loaded", "ActiveState": "active"}
    home.systemctl(feedgen_service=active | {"UnitFileState": "disabled"})
    assert "systemctl enable" in only(look(home), "systemd", "warning").advice
    home.systemctl(feedgen_service=active | {"UnitFileState": "enabled", "NRestarts": "12"})
    assert "restarted 12 times" in only(look(home), "systemd", "warning").said
    home.systemctl(feedgen_backup_timer={"LoadState": "not-found"})
    assert "feedgen install" in only(look(home), "systemd", "warning").advice
    home.systemctl(feedgen_verify_timer={"LoadState": "loaded", "ActiveState": "inactive"})
    assert "feedgen-verify.timer" in only(look(home), "systemd", "warning").said
    home.systemctl(feedgen_backup_service={"LoadState": "loaded", "Result": "exit-code"})
    assert "feedgen-backup failed" in only(look(home), "systemd", "failure").said
    home.systemctl(feedgen_service={"LoadState": "not-found"})
    assert bad(look(home)) == []


def test_the_tunnel(home: Home) -> None:
    home.tailscale(BackendState="Stopped")
    assert "stopped" in bad(look(home))[0].said
    home.tailscale(Expired=True)
    assert "expired" in bad(look(home))[0].said
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3, hours=1)
    home.tailscale(KeyExpiry=soon.isoformat())
    assert "in 3 days" in only(look(home), "tunnel", "warning").said
    home.tailscale(ping="pong from vps (100.64.0.2) via DERP(fra) in 45ms")
    assert "DERP(fra)" in only(look(home), "tunnel", "warning").said
    home.tailscale(ping="timed out")
    assert "does not answer" in only(look(home), "tunnel", "failure").said
    (home.bin / "tailscale").unlink()
    if shutil.which("tailscale") is None:
        assert "not installed" in only(look(home), "tunnel", "failure").said
    assert bad(look(home, tunnel__kind="none")) == []


def test_certificates(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.front.context = home.authority.context(HOSTNAME, days=5.5)
    assert "ends in 5 days" in only(look(home), "certificate", "warning").said
    for context in (home.authority.context(HOSTNAME, days=-1), home.authority.context("other.example.com")):
        home.front.context = context
        found = bad(look(home))
        assert found[0].check == "certificate" and "not accepted" in found[0].said
    monkeypatch.delenv("SSL_CERT_FILE")
    home.front.context = home.authority.context(HOSTNAME)
    assert "not accepted" in bad(look(home))[0].said


def test_a_vps_that_is_away(home: Home) -> None:
    loaded = read_settings(Settings, env={}, folder=home.folder, given=home.given())
    found = bad(list(examine(loaded, "127.0.0.1:9", None)))
    assert [finding.check for finding in found] == ["certificate", "did.json", "description", "request"]
    assert all(finding.level == "failure" for finding in found)


def test_another_service_under_our_name(home: Home) -> None:
    other = {"id": "did:web:other.example", "service": []}
    with Site({outside.DID_PATH: other, outside.DESCRIBE_PATH: {"did": other["id"], "feeds": []}}) as site:
        home.front.upstream = site.url.removeprefix("http://")
        found = bad(look(home))
    assert [finding.check for finding in found] == ["did.json", "description", "request"]
    assert "did:web:other.example" in found[0].said and "404" in found[2].said


def test_a_fallback_that_answers_instead_of_us(home: Home) -> None:
    """As Caddy does while the PC is off: pages with 200, whoever asks."""
    uris = [{"uri": f"at://{DID}/app.bsky.feed.generator/{feed}"} for feed in Settings().publish.feeds]
    service = {"id": "#bsky_fg", "serviceEndpoint": f"https://{HOSTNAME}"}
    table = {
        outside.DID_PATH: {"id": f"did:web:{HOSTNAME}", "service": [service]},
        outside.DESCRIBE_PATH: {"did": f"did:web:{HOSTNAME}", "feeds": uris},
        outside.SKELETON_PATH: {"feed": []},
    }
    with Site(table) as site:
        home.front.upstream = site.url.removeprefix("http://")
        assert "fallback" in only(look(home), "request", "failure").advice


def test_a_signed_request_that_is_refused(home: Home) -> None:
    """The directory knows another key of the publisher's."""
    key, home.pds.key = home.pds.key, Keypair()
    try:
        assert "401" in only(look(home, signed=True), "request", "failure").said
    finally:
        home.pds.key = key
    assert bad(look(home, signed=True)) == []
    home.pds.refuse["com.atproto.server.createSession"] = (401, {"error": "AuthenticationRequired"})
    assert "password is wrong" in only(look(home, signed=True), "account", "failure").said


def test_records(home: Home) -> None:
    home.pds.records["popular"]["displayName"] = "Old"
    assert "displayName" in only(look(home), "records", "warning").said
    home.pds.records["popular"]["did"] = "did:web:other.example"
    assert "--replace" in only(look(home), "records", "failure").advice
    del home.pds.records["popular"]
    assert "not published" in only(look(home), "records", "failure").said
    published(home.pds)
    home.pds.refuse["com.atproto.repo.getRecord"] = (500, {"error": "InternalServerError"})
    assert all("status 500" in finding.said for finding in bad(look(home)))
    home.pds.refuse.clear()
    assert "no feed" in only(look(home, publish__names="nothing=x"), "records", "failure").said


def test_callers(home: Home) -> None:
    """One straight to the public name, one through the egress: two addresses, unless the proxy is not trusted."""
    [said] = [finding.said for finding in look(home) if finding.check == "callers"]
    assert "no egress answers" in said
    home.front.gullible = True
    assert "choose the address" in only(look(home), "callers", "failure").said
    home.front.gullible = False
    context, upstream = home.authority.context(HOSTNAME), str(home.settings["service.bind"])
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    # The egress comes from another address than we do.
    (home.folder / "alone").mkdir()
    with TlsFront(context, upstream, "::1") as same, Feedgen(home.folder / "alone", **blind(home)) as alone:
        rules = Rules(frozenset({"127.0.0.1"}), look_up=_to("::1"), is_public=lambda _: True, port=same.port)
        egress = Egress(rules)
        bound = asyncio.run_coroutine_threadsafe(egress.start("127.0.0.1:0"), loop).result(10)
        given = {"identity__proxy_url": f"http://{bound}"}
        [callers] = [finding for finding in look(home, **given) if finding.check == "callers"]
        assert (callers.level, "seen as two" in callers.said) == ("ok", True)
        # One that trusts no proxy sees one caller.
        alone.said("answering")
        home.front.upstream = same.upstream = alone.url.removeprefix("http://")
        found = only(look(home, **given), "callers", "failure")
        assert "look like one" in found.said and "trusted_proxies" in found.advice
        asyncio.run_coroutine_threadsafe(egress.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def blind(home: Home) -> dict[str, object]:
    """A service that believes no proxy."""
    own = {"store.dir": home.folder / "alone" / "data", "service.trusted_proxies": "192.0.2.1"}
    return {name: value for name, value in home.settings.items() if name != "service.bind"} | own


def _to(address: str) -> Callable[[str], Awaitable[list[str]]]:
    async def look_up(host: str) -> list[str]:
        return [address]

    return look_up


# --- the machine and the data folder


def test_python_and_packages() -> None:
    assert machine.check_python().level == machine.check_packages().level == "ok"
    assert machine.check_python((3, 10, 2)).level == machine.check_python(bits=32).level == "failure"
    assert "no-such-package" in machine.check_packages(["numpy>=2", "no-such-package[x]>=1"]).said
    optional = machine.check_packages(["numpy>=2", 'no-such-package>=1.2; extra == "export"'])
    assert (optional.level, optional.said) == ("ok", "all 1 are there")


def test_disk_space(tmp_path: Path) -> None:
    assert machine.judge_space(100 * GIB, 0, 90).level == "ok"
    assert machine.judge_space(40 * GIB, 30 * GIB, 90).level == "ok"
    assert machine.judge_space(40 * GIB, 0, 90).level == "warning"
    assert machine.judge_space(GIB, 69 * GIB, 90).level == "failure"
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    assert machine.bytes_in(tmp_path) >= 100_000
    assert machine.existing(tmp_path / "a" / "b") == tmp_path


def test_a_folder_that_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "lib" / "data"
    data.mkdir(parents=True)
    data.parent.chmod(0o700)
    tmp_path.chmod(0o711)
    user = os.geteuid()
    try:
        if user == 0:
            assert not machine.is_closed(data) and not machine.is_closed(data / "more")
            os.seteuid(65534)
        else:
            data.parent.chmod(0)
        assert machine.is_closed(data)
    finally:
        os.seteuid(user)
        data.parent.chmod(0o700)


def test_a_network_file_system_is_named(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    home = tmp_path.resolve()
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:40 / {home}/far rw shared:1 - nfs4 host:/x rw\n")
    (tmp_path / "far" / "data").mkdir(parents=True)
    assert machine.check_file_system(tmp_path, mounts).said == "ext4"
    found = machine.check_file_system(tmp_path / "far" / "data" / "not yet", mounts)
    assert found.level == "failure" and "nfs4" in found.said
    assert machine.check_file_system(tmp_path, tmp_path / "missing").level == "warning"
    assert machine.check_file_system(tmp_path).level == "ok"


def test_disk_speed(tmp_path: Path) -> None:
    assert machine.check_speed(tmp_path).said.startswith("a commit takes")
    assert list(tmp_path.iterdir()) == []
    assert machine.judge_speed(0.005, 100 << 20).level == "ok"
    assert machine.judge_speed(0.2, 100 << 20).level == machine.judge_speed(0.005, 1 << 20).level == "warning"
    assert machine.judge_speed(1.5, 100 << 20).level == "failure"
    assert "can't write" in machine.check_speed(Path("/proc/self")).said
    full = machine.check_speed(tmp_path, room_bytes=1 << 60)
    assert full.level == "warning" and full.said.startswith("not tried: only")


def test_no_name_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once, not for each host."""

    def refuse(host: str, *_: object) -> None:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    found = list(network.check_hosts(Settings()))
    assert [(one.check, one.level) for one in found] == [("network", "failure")]
    assert "Temporary failure" in found[0].said and "resolvectl" in found[0].advice


@pytest.mark.parametrize(
    ("total_gib", "available_gib", "level"), [(16, 10, "ok"), (4, 3, "warning"), (16, 0.5, "failure")]
)
def test_memory(tmp_path: Path, total_gib: float, available_gib: float, level: str) -> None:
    lines = {"MemTotal": total_gib, "MemAvailable": available_gib}
    (tmp_path / "meminfo").write_text("".join(f"{n}:  {int(gib * (1 << 20))} kB\n" for n, gib in lines.items()))
    assert machine.check_memory(tmp_path).level == level


def test_memory_of_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert machine.check_memory(tmp_path).level == "warning"
    (tmp_path / "meminfo").write_text("MemTotal: many\n")
    assert machine.check_memory(tmp_path).level == "warning"


def test_open_files() -> None:
    """Of a real process that may have few."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for soft, level in ((200, "failure"), (2000, "warning"), (min(hard, 8192), "ok")):
        command = ["bash", "-c", f"ulimit -S -n {soft}; echo ready; read"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            found = machine.check_files(process.pid)
            assert found.level == level and found.said.startswith("the service")
            process.communicate(b"\n")


def test_where_systemd_does_not_run(tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'System has not been booted with systemd as init system.' >&2\nexit 1\n")
    program.chmod(0o755)
    for name in (str(program), str(tmp_path / "missing")):
        [found] = machine.check_systemd(name)
        assert found.level == "ok" and "is not running here" in found.said


def test_data_that_is_damaged(world: Home, tmp_path: Path) -> None:
    def damaged(what: Any) -> list[Finding]:
        folder = tmp_path / what.__name__
        shutil.copytree(world.folder / "data", folder)
        what(folder)
        return [finding for finding in inside.check_data(folder) if finding.level == "failure"]

    def names_are_missing(folder: Path) -> None:
        (folder / "names.db").unlink()

    def a_day_is_cut_off(folder: Path) -> None:
        day = next((folder / "days").glob("*.db"))
        writer = open_writer(day)
        assert checkpoint(writer, truncate=True)
        writer.close()
        assert day.stat().st_size > 8192
        os.truncate(day, day.stat().st_size // 2)

    def readers_are_overwritten(folder: Path) -> None:
        (folder / "viewers.db").write_bytes(b"not a database" * 1000)
        for more in folder.glob("viewers.db-*"):
            more.unlink()

    def a_newer_version_was_here(folder: Path) -> None:
        (folder / "format").write_text("99\n")

    def nothing(folder: Path) -> None:
        pass

    assert damaged(nothing) == []
    for what, words in (
        (names_are_missing, "names.db is missing"),
        (a_day_is_cut_off, "cut off"),
        (readers_are_overwritten, "viewers.db"),
        (a_newer_version_was_here, "format 99"),
    ):
        found = damaged(what)
        assert found and words in found[0].said and found[0].advice, what
    [empty] = inside.check_data(tmp_path / "none")
    assert empty.level == "warning"


# --- what the service says of itself, and names


@pytest.mark.parametrize(
    ("told", "level"),
    [
        ({"state": "live", "behind_s": 0.3}, "ok"),
        ({"state": "catching up", "behind_s": 90_000}, "ok"),
        ({"state": "connecting", "behind_s": 300, "error": "refused"}, "warning"),
        ({"state": "waiting", "behind_s": 7_000}, "failure"),
        ({"state": "connecting", "behind_s": None}, "failure"),
    ],
)
def test_lag(told: dict[str, Any], level: str) -> None:
    assert inside.judge_lag(told).level == level


def test_a_disk_that_is_full_for_the_service() -> None:
    health = {"jetstream": {"state": "live", "behind_s": 1}, "store": {"days": 1, "people": 1, "full": True}}
    with Site({inside.HEALTH_PATH: health}) as site:
        assert [finding.level for finding in inside.check_service(site.url.removeprefix("http://"))] == [
            "ok",
            "failure",
            "ok",
        ]


def test_names_without_an_address_that_the_world_can_reach() -> None:
    nowhere = outside.check_name(outside.Front("nowhere.invalid"))
    assert nowhere.level == "failure" and "has no address" in nowhere.said
    for hidden in ("localhost", "192.168.1.7", "100.64.0.7"):
        assert "can't reach" in outside.check_name(outside.Front(hidden)).said
    assert outside.check_name(outside.Front("9.9.9.9")).level == "ok"


def test_a_clock_that_nobody_can_tell() -> None:
    assert network.judge_clock([]).level == "warning"
    assert network.judge_clock([0.4, -0.3, 5000]).level == "ok"
