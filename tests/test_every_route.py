"""Every route of the whole service, public and private, under any method, query and header: no bug of ours, no hang.

The routes are those that the service itself lists, so that a new one is here by itself. tests/serve/test_fuzz.py looks
closer at those that readers use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.app import build
from feedgen.core.settings import Settings
from feedgen.serve.http import private, routes
from feedgen.simnet.process import SimnetProcess
from tests.process import PUBLISHER, Feedgen

# More of it: FUZZ_EXAMPLES=5000 scripts/test tests/test_every_route.py
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
PATHS = sorted(
    {row.path for row in build(Settings()).site.rows(private=True)}
    | {routes.SKELETON_PATH, routes.DESCRIBE_PATH, routes.INTERACTIONS_PATH, routes.HEALTH_PATH, routes.DID_PATH}
    | {routes.ALSO_LIKED_PATH, private.METRICS_PATH, private.LIVE_PATH, private.READY_PATH, private.WHY_PATH}
)
FEED = f"at://{PUBLISHER}/app.bsky.feed.generator/for-you"
ANSWER_S = 60.0  # on a busy machine; an answer that never comes is what is looked for


@dataclass
class Service:
    public: str
    private: str
    post: str
    reader: str
    client: httpx.Client


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        SimnetProcess("--people", "80", "--days", "0.5", "--rate", "1", "--wait", "--lookback-h", "-1") as network,
        Feedgen(
            tmp_path_factory.mktemp("routes"),
            jetstream__urls=network.urls.jetstream[0],
            identity__plc_url=network.urls.plc,
            appview__url=network.urls.appview,
            service__private_bind="127.0.0.1:0",
        ) as feedgen,
        httpx.Client(timeout=ANSWER_S, trust_env=False) as client,
    ):
        address = feedgen.said("the private address answers")["bind"]
        feedgen.wait_for(lambda: feedgen.page().json().get("feed"), "posts that are popular")
        post = feedgen.page().json()["feed"][0]["post"]
        reader = network.control("readers?k=1")[0]["did"]
        yield Service(feedgen.url, f"http://{address}", post, reader, client)
        assert feedgen.page().status_code == 200
        assert feedgen.stop()[0] == 0
        wrong = [line for line in feedgen.log if line.get("level") in ("error", "critical")]
        assert not wrong, wrong[:3]


texts = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="<>&\"'%/:.@#?=;{}|\\\0é", max_size=30),
    st.sampled_from(["", "0", "-1", "1e999", "nan", "null", "for-you", "popular", "default", "hour", "x" * 3000]),
    st.integers().map(str),
    st.floats().map(str),
)
NAMES = "post reader feed limit cursor who handle did uris preset days over seeds age_half_life plain language x"
names = st.sampled_from(NAMES.split())
headers = st.dictionaries(
    st.sampled_from(["authorization", "accept-language", "accept", "cookie", "if-none-match", "if-modified-since"]),
    st.text(alphabet="abcB ,;=q0.9*-:/\"'%", max_size=40).map(str.strip),
    max_size=2,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_every_route(service: Service, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS))
    method = data.draw(st.sampled_from(["GET"] * 6 + ["HEAD", "POST", "PUT", "OPTIONS"]))
    known = st.sampled_from([service.post, service.reader, FEED, PUBLISHER])
    query = data.draw(st.lists(st.tuples(names, texts | known), max_size=5))
    # An address of one's own: what is looked for is not whether there are limits.
    address = f"11.{data.draw(st.integers(0, 255))}.{data.draw(st.integers(0, 255))}.1"
    sent = {"x-forwarded-for": address, **data.draw(headers)}
    url = data.draw(st.sampled_from([service.public, service.private])) + path
    answer = service.client.request(
        method, url, params=[(name, text.encode(errors="replace")) for name, text in query], headers=sent
    )
    assert answer.status_code != 500, (answer.url, answer.text)
    assert "Traceback" not in answer.text
