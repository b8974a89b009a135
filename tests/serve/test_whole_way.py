"""From a token on the wire to a page: the real verifier, the real resolver, and a directory that can go away."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from feedgen.core.clock import SystemClock
from feedgen.serve.http.server import Server
from feedgen.serve.out.fetch import PlcFetcher
from feedgen.serve.who.identity import Resolver
from feedgen.serve.who.keys import K256, P256
from feedgen.serve.who.tokens import TokenVerifier
from feedgen.store.viewers import Viewers
from tests.serve.accounts import Keypair, document, plc
from tests.serve.parts import (
    FEED_URI,
    INTERACTIONS,
    SERVICE,
    SKELETON,
    CountingFeed,
    Sink,
    parts_with,
    post_uri,
    serving,
)
from tests.serve.who.test_identity import Directory, answering


def bearer(pair: Keypair, did: str, method: str, jti: str) -> dict[str, str]:
    now_s = int(time.time())
    claims = {"iss": did, "aud": SERVICE.did, "exp": now_s + 60, "iat": now_s, "lxm": method, "jti": jti}
    return {"authorization": f"Bearer {pair.token(claims)}"}


async def test_readers_of_both_curves_page_and_interact_with_the_directory_up_and_down(tmp_path: Path) -> None:
    people = {plc("one"): Keypair(K256), plc("two"): Keypair(P256)}
    directory = Directory({did: document(did, pair.method(did)) for did, pair in people.items()})
    plc_server = Server(directory, ["127.0.0.1:0"])
    await plc_server.start()
    feed, sink, clock = CountingFeed(), Sink(), SystemClock()
    async with await Viewers.open(tmp_path) as viewers:
        resolver = Resolver(PlcFetcher(f"http://127.0.0.1:{plc_server.port}"), None, viewers, clock)
        parts = replace(parts_with(feed, sink), verifier=TokenVerifier(SERVICE.did, resolver, clock))
        async with serving(parts) as client:
            for round, answer in enumerate((None, answering(500))):
                directory.answer = answer
                for did, pair in people.items():
                    headers = bearer(pair, did, "app.bsky.feed.getFeedSkeleton", f"{round}")
                    page = await client.get(SKELETON, params={"feed": FEED_URI, "limit": 2}, headers=headers)
                    assert page.status_code == 200 and feed.asks[-1].reader_did == did
                    headers = bearer(pair, did, "app.bsky.feed.sendInteractions", f"{round} write")
                    event = {"item": post_uri(0), "event": "app.bsky.feed.defs#requestLess"}
                    body = {"interactions": [event]}
                    codes = [
                        (await client.post(INTERACTIONS, json=body, headers=headers)).status_code for _ in range(2)
                    ]
                    assert codes == [200, 401]  # a write is good once
            forged = bearer(people[plc("two")], plc("one"), "app.bsky.feed.getFeedSkeleton", "f")
            refused = await client.get(SKELETON, params={"feed": FEED_URI}, headers=forged)
            assert (refused.status_code, refused.json()["error"]) == (401, "BadJwtSignature")
            stranger = bearer(Keypair(), plc("three"), "app.bsky.feed.getFeedSkeleton", "s")
            page = await client.get(SKELETON, params={"feed": FEED_URI}, headers=stranger)
            assert page.status_code == 200 and feed.asks[-1].reader_did is None
        await resolver.close()
    await plc_server.stop(1.0)
    assert [call[0] for call in sink.calls] == [*people, *people]
    assert directory.asked[:2] == [*people] and len(directory.asked) <= 4
