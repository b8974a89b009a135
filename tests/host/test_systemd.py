"""Spoken to a real datagram socket, by a real process, with a real socket handed over; the units by systemd's tools."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest

from feedgen.core.settings import Log, Settings, Store
from feedgen.core.settings_network import Service
from feedgen.host.life import Life
from feedgen.host.reload import differences, take_over
from feedgen.host.systemd import Notifier, Unit, public_and_private, sockets_given
from feedgen.simnet.process import SimnetProcess
from tests.host.as_systemd import Activated, NotifySocket, public_socket

UNITS = Path(__file__).parents[2] / "systemd"
MAX_EXPOSURE = 1.5


def messages_of(notify: NotifySocket, n: int) -> list[dict[str, str]]:
    deadline_s = time.monotonic() + 5
    while len(notify.messages) < n and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return notify.messages


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_messages_arrive_whole_and_a_value_stays_one_line(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@feedgen-test-{os.getpid()}"
    with NotifySocket(address) as notify:
        notifier = Notifier(address)
        notifier.send(READY=1, STATUS="two\nlines " + "x" * 1000)
        [message] = messages_of(notify, 1)
        assert message["READY"] == "1" and message["STATUS"].startswith("two lines xxx")
        assert len(message["STATUS"]) == 200
        notifier.close()


def test_without_systemd_nothing_happens_and_its_going_away_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier().send(READY=1)
    notifier = Notifier(str(tmp_path / "nobody"))
    for _ in range(3):
        notifier.send(WATCHDOG=1)
    notifier.close()
    assert len(caplog.records) == 1


def test_the_environment_is_taken_and_must_be_meant_for_us() -> None:
    env = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7", "PATH": "/bin"}
    notifier = Notifier.from_environment(env, 7)
    assert notifier.is_heard and notifier.watchdog_us == 60_000_000 and env == {"PATH": "/bin"}
    notifier.close()
    env = {"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "many", "WATCHDOG_PID": "7"}
    notifier = Notifier.from_environment(env, 7)
    assert not notifier.is_heard and notifier.watchdog_us == 0
    env = {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "8"}
    assert Notifier.from_environment(env, 7).watchdog_us == 0


@pytest.mark.parametrize("given", [{}, {"LISTEN_PID": "8", "LISTEN_FDS": "1"}, {"LISTEN_PID": "7", "LISTEN_FDS": "x"}])
def test_sockets_of_others_are_left_alone(given: dict[str, str]) -> None:
    assert sockets_given(dict(given), 7) == {}


def test_sockets_by_name() -> None:
    given = {"public": ["fd://3"], "private": ["fd://4"], "": ["fd://5"]}
    assert public_and_private(given) == (["fd://3", "fd://5"], ["fd://4"])


def test_the_watchdog_is_fed_only_while_every_part_lives(tmp_path: Path) -> None:
    now_s = 100.0
    life = Life(lambda: now_s)
    writer_s = now_s
    life.follow(lambda: writer_s, Future)
    with NotifySocket(str(tmp_path / "notify")) as notify:
        unit = Unit(Notifier(notify.address, watchdog_us=60_000_000), life)
        assert unit.beat_s == 20
        unit.beat("")
        assert "EXTEND_TIMEOUT_USEC" in messages_of(notify, 1)[0]
        life.begin()
        unit.ready("fine")
        unit.beat("live")
        assert messages_of(notify, 3)[2] == {"WATCHDOG": "1", "STATUS": "live"}
        now_s += 46
        unit.beat("live")
        assert messages_of(notify, 4)[3] == {"STATUS": "no sign of life: writer"}
        life.stop()
        unit.stopping()
        unit.beat("live")
        assert messages_of(notify, 5)[4]["STOPPING"] == "1"
        time.sleep(0.1)
        assert len(notify.messages) == 5
        unit._notifier.close()


def test_reload_takes_over_what_can_change_and_names_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    old = Settings()
    new = Settings(service=Service(bind="127.0.0.1:1"), store=Store(retention_days=5), log=Log(level="error"))
    assert differences(old, new) == ["service.bind", "store.retention_days", "log.level"]
    root, ours = logging.getLogger(), logging.getLogger("feedgen")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    try:
        caplog.set_level(logging.INFO)
        now = take_over(old, Settings(store=Store(retention_days=5)))
        assert now == old and "a restart is needed for: store.retention_days" in caplog.text
        assert take_over(old, new).log.level == "error" and ours.level == logging.ERROR
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        logging.captureWarnings(False)


# --- the whole process


@pytest.fixture(scope="module")
def network() -> Iterator[SimnetProcess]:
    with SimnetProcess("--people", "80", "--days", "0.5", "--wait", "--rate", "5") as network:
        yield network


def settings_for(network: SimnetProcess) -> dict[str, object]:
    return {"jetstream__urls": ",".join(network.urls.jetstream), "identity__plc_url": network.urls.plc}


def test_the_life_of_a_unit(network: SimnetProcess, tmp_path: Path) -> None:
    (tmp_path / "feedgen.toml").write_text('[log]\nlevel = "info"\n')
    with (
        public_socket() as public,
        NotifySocket(str(tmp_path / "notify")) as notify,
        Activated(tmp_path, public, notify.address, watchdog_us=1_500_000, **settings_for(network)) as it,
    ):
        it.wait_for(lambda: notify.heard("READY"), "READY")
        assert "EXTEND_TIMEOUT_USEC" in notify.messages[0]
        assert it.page(limit=3).status_code == 200  # ready means that pages are answered, on the given socket
        it.wait_for(lambda: len(notify.heard("WATCHDOG")) > 3, "the watchdog")
        it.wait_for(lambda: any("events/s" in status for status in notify.heard("STATUS")), "a status")
        (tmp_path / "feedgen.toml").write_text('[log]\nlevel = "info"\n[store]\nretention_days = 7\n')
        os.kill(it.process.pid, signal.SIGHUP)
        it.wait_for(lambda: len(notify.heard("READY")) == 2, "the reload")
        [reloaded_us] = notify.heard("MONOTONIC_USEC")
        assert abs(int(reloaded_us) / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 30
        assert "store.retention_days" in it.said("a restart is needed")["event"]
        (tmp_path / "feedgen.toml").write_text("[stor]\n")
        os.kill(it.process.pid, signal.SIGHUP)
        it.wait_for(lambda: len(notify.heard("READY")) == 3, "the reload that failed")
        it.said("the settings stay as they were")
        assert it.stop()[0] == 0
        it.wait_for(lambda: notify.heard("STOPPING") == ["1"], "STOPPING")
        assert not any("did:" in status for status in notify.heard("STATUS"))


def test_a_stopped_process_is_not_fed_for(network: SimnetProcess, tmp_path: Path) -> None:
    with (
        public_socket() as public,
        NotifySocket(str(tmp_path / "notify")) as notify,
        Activated(tmp_path, public, notify.address, watchdog_us=1_500_000, **settings_for(network)) as it,
    ):
        it.wait_for(lambda: notify.heard("READY"), "READY")
        os.kill(it.process.pid, signal.SIGSTOP)
        time.sleep(0.3)
        before = len(notify.messages)
        time.sleep(2)
        assert len(notify.messages) == before
        os.kill(it.process.pid, signal.SIGCONT)
        it.wait_for(lambda: len(notify.messages) > before, "life")


def test_a_restart_refuses_nobody(network: SimnetProcess, tmp_path: Path) -> None:
    failures: list[str] = []
    answered: list[float] = []
    over = threading.Event()

    def ask(url: str) -> None:
        while not over.is_set():
            began_s = time.monotonic()
            try:
                answer = httpx.get(f"{url}/xrpc/app.bsky.feed.describeFeedGenerator", timeout=60)
                if answer.status_code != 200:
                    failures.append(str(answer.status_code))
            except httpx.HTTPError as error:
                failures.append(repr(error))
            answered.append(time.monotonic() - began_s)

    with public_socket() as public:
        with Activated(tmp_path, public, **settings_for(network)) as it:
            it.said("answering")
            askers = [threading.Thread(target=ask, args=(it.url,)) for _ in range(3)]
            for asker in askers:
                asker.start()
            time.sleep(1)
            assert it.stop()[0] == 0
        with Activated(tmp_path, public, **settings_for(network)) as it:
            it.said("answering")
            time.sleep(1)
            over.set()
            for asker in askers:
                asker.join(60)
            assert it.stop()[0] == 0
    assert failures == [] and len(answered) > 20


# --- the units


@pytest.mark.needs("systemd-analyze")
def test_the_units_are_understood(tmp_path: Path) -> None:
    for unit in ("feedgen.service", "feedgen.socket"):
        text = (UNITS / unit).read_text().replace("/usr/local/bin/feedgen", sys.executable)
        (tmp_path / unit).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "feedgen.service"), str(tmp_path / "feedgen.socket")],
        capture_output=True,
        text=True,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert done.returncode == 0 and "feedgen" not in done.stderr, done.stderr


@pytest.mark.needs("systemd-analyze")
def test_the_service_is_locked_in() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / "feedgen.service")],
        capture_output=True,
        text=True,
        check=True,
    )
    level = float(done.stdout.split("Overall exposure level")[1].split(":")[1].split()[0])
    assert level <= MAX_EXPOSURE


@pytest.mark.needs("systemd-sysusers")
def test_the_user_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "feedgen.sysusers.conf")],
        check=True,
        capture_output=True,
    )
    [line] = [line for line in (tmp_path / "etc" / "passwd").read_text().splitlines() if line.startswith("feedgen:")]
    assert line.endswith(":/var/lib/feedgen:/usr/sbin/nologin")
