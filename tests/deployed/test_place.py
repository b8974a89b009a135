"""What readers get while a stranger attacks, the tunnel is cut, slow or lossy, and either side restarts.

FEEDGEN_TUNNEL_CUTS=5,60,3600 says for how many seconds the tunnel is cut, FEEDGEN_RESTART_REQUESTS=5000 how many
requests a restart is watched for.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from threading import Thread

import httpx
import pytest

from feedgen.core.page_times import PageTimes
from feedgen.host.vps_pages import ask
from tests.deployed.hosts import HOME, STRANGER, VPS
from tests.deployed.place import APPVIEW_LEAVES_S, FEED, PDS_LEAVES_S, SITE, SKELETON, Caller, Crowd, Place
from tests.deployed.slow import SlowHome

pytestmark = pytest.mark.needs("ip", "caddy")

CUTS_S = [float(word) for word in os.environ.get("FEEDGEN_TUNNEL_CUTS", "5").split(",")]
RESTART_REQUESTS = int(os.environ.get("FEEDGEN_RESTART_REQUESTS", "1000"))
ATTACKS = 200


def spoiled(token: str) -> str:
    """The same claims with a signature that is not theirs."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{signature[:20]}{'A' if signature[20] != 'A' else 'B'}{signature[21:]}"


def attack(place: Place, found: Counter[int], path: str, token: str = "", method: str = "GET", **headers: str) -> None:
    with place.caller(STRANGER) as caller:
        for number in range(ATTACKS):
            sent = {name.replace("_", "-"): value.format(n=number % 250) for name, value in headers.items()}
            found[caller.ask(method, path, token, headers=sent).status] += 1


A_POST = "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3kaaaaaaaaa2a"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (f"{SKELETON}?feed={FEED}", "GET"),
        ("/playground", "GET"),
        (f"/also-liked?post={A_POST}", "GET"),
        ("/my/begin", "POST"),
    ],
)
def test_a_stranger_locks_nobody_out(place: Place, path: str, method: str) -> None:
    """Bad signatures, pages, sign-ins: a stranger who sends too many is refused, readers and other visitors are not."""
    tokens = [place.token(person) for person in range(20)]
    found: Counter[int] = Counter()
    token = spoiled(place.token(50)) if path.startswith(SKELETON) else ""
    headers = {"Origin": f"https://{SITE}"}
    stranger = Thread(target=attack, args=(place, found, path, token, method), kwargs=headers)
    stranger.start()
    with place.caller() as caller:
        answers = [caller.page(token) for token in tokens]
        other = caller.ask(method, path, headers=headers)
    stranger.join()
    assert {answer.status for answer in answers} == {200}
    assert not any(answer.is_from_files for answer in answers) and all(answer.feed for answer in answers)
    # A bad signature costs little while the key is at hand; all else is refused soon.
    assert found[401 if token else 429] > ATTACKS / 4, found
    assert other.status != 429


def test_forged_forwarding_headers_are_one_caller(place: Place) -> None:
    found: Counter[int] = Counter()
    forged = dict.fromkeys(("X_Forwarded_For", "X_Real_Ip", "Cf_Connecting_Ip", "True_Client_Ip"), "198.51.100.{n}")
    attack(place, found, "/playground", **forged, Forwarded="for=198.51.100.{n}")
    assert found[429] > ATTACKS / 4, found


def test_no_way_leads_to_the_home_but_the_tunnel(place: Place) -> None:
    with place.hosts.client.entered(), pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{HOME}:8090/xrpc/_health", timeout=2, trust_env=False)
    with place.hosts.client.entered(), pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{VPS}:8118/", timeout=2, trust_env=False)


def test_a_restart_fails_no_request(place: Place) -> None:
    """Mixed, on pooled connections: pages, interactions and descriptions."""
    place.fallback_is_there()
    crowd = Crowd(place, range(60))
    crowd.until(RESTART_REQUESTS // 3)
    place.home.stop()
    place.home.start()
    crowd.until(RESTART_REQUESTS * 2 // 3)
    found = crowd.stop()
    print("restart under load:", dict(found), "slowest:", {name: round(s, 1) for name, s in crowd.slowest_s.items()})
    assert set(found) <= {"page", "files", "told", "described"} and sum(found.values()) >= RESTART_REQUESTS
    told_s = crowd.slowest_s.pop("told")
    assert told_s < PDS_LEAVES_S and max(crowd.slowest_s.values()) < APPVIEW_LEAVES_S


def watch(place: Place, seconds: float) -> list[str]:
    """What a reader gets each half second, and never later than the AppView waits."""
    token, got = place.token(7), []
    with place.caller() as caller:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            answer = caller.page(token)
            assert answer.took_s < APPVIEW_LEAVES_S
            assert answer.status == 200 and answer.feed, answer.response.text
            got.append("files" if answer.is_from_files else "home")
            time.sleep(0.5)
    return got


@pytest.mark.parametrize("cut_s", CUTS_S)
def test_a_cut_tunnel(place: Place, cut_s: float) -> None:
    """The VPS's files stand in within the AppView's time, and the home is back soon after the tunnel is."""
    place.fallback_is_there()
    place.tunnel.say(is_up=False)
    got = watch(place, cut_s)
    assert set(got[1:]) == {"files"}, got
    place.tunnel.say()
    began_s = time.monotonic()
    place.until_answered()
    print(f"cut for {cut_s:.0f} s; home answers again after {time.monotonic() - began_s:.1f} s")


def test_pages_are_timed_at_the_vps(place: Place) -> None:
    """The home knows how many pages readers were given there, and how long each took."""

    def counted() -> PageTimes:
        with place.hosts.home.entered():
            return ask(f"http://{VPS}:8118")

    before = counted()
    with place.caller() as caller:
        for _ in range(5):
            caller.page(place.token(9))
        caller.ask("GET", "/.well-known/did.json")
    deadline_s = time.monotonic() + 10
    while counted().pages < before.pages + 5 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    new = counted().added_since(before)
    assert (new.pages, new.failed) == (5, 0) and 0 < new.total_s < 5 * APPVIEW_LEAVES_S


def test_a_slow_and_lossy_tunnel(place: Place) -> None:
    """200 ms there and back, 2 of 100 packets lost."""
    place.tunnel.say(latency_s=0.1, loss=0.02)
    got = watch(place, 5)
    assert got.count("home") > len(got) / 2, got


def test_a_slow_home(place: Place) -> None:
    """Each list takes 3 s: readers get the last list, the popular one or the files, in time."""
    place.home.stop()
    place.home.start(SlowHome)
    watch(place, 5)


@pytest.mark.parametrize("home_too", [False, True])
def test_the_vps_restarts(place: Place, home_too: bool) -> None:
    """As at the provider's maintenance, or when the power was out everywhere."""
    assert place.vps is not None
    place.fallback_is_there()
    place.vps.kill()
    place.tunnel.say(is_up=False)
    if home_too:
        place.home.kill()
    with place.caller() as caller, pytest.raises(httpx.HTTPError):
        caller.page()
    place.tunnel.say()
    place.vps.start()
    if home_too:
        wait_for_files(place)
        place.home.start()
    place.until_answered()


def wait_for_files(place: Place) -> None:
    """The VPS is first: its files answer alone."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        with suppress(httpx.HTTPError), place.caller() as caller:
            if served_from_files(caller):
                return
        time.sleep(0.1)
    raise AssertionError("the VPS does not answer")


def served_from_files(caller: Caller) -> bool:
    answer = caller.page()
    return answer.status == 200 and answer.is_from_files and bool(answer.feed)
