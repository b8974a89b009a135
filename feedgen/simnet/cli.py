"""`feedgen simnet`: a made-up Bluesky in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from feedgen.simnet.jetstream import HostOptions
    from feedgen.simnet.server import Simnet, SimnetOptions

_CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(invoke_without_command=True, context_settings=_CONTEXT)
@click.option("--people", default=1000, help="How many people live there.", type=click.IntRange(20))
@click.option("--seed", default=1, help="The same seed and options make the same network.")
@click.option("--days", default=1.0, help="How much past there is when it starts.", type=click.FloatRange(0, 90))
@click.option("--per-person-day", default=30.0, help="Events a person makes a day, on average. (Real: about 30.)")
@click.option(
    "--rate", type=float, help="Events/s of everybody together, once the past is over. [default: as the past]"
)
@click.option("--odd", default=0.002, help="Share of odd things: strange keys, future dates, broken records, repeats.")
@click.option("--hosts", default="v2,v2,legacy", help="Jetstream hosts, by flavour: v2 or legacy.")
@click.option("--lookback-h", type=float, help="How old a cursor may be, -1 for any age. [default: v2 36, legacy 24]")
@click.option("--ping-s", default=30.0, help="Seconds between websocket pings.")
@click.option("--outbox", type=int, help="Events a live reader may be behind, 0 for any. [default: v2 0, legacy 50000]")
@click.option("--max-rate", default=0.0, help="Events/s for each reader, 0 for no limit. (Real legacy hosts: 5000.)")
@click.option("--batched", is_flag=True, help="Write many events at a time; real hosts write each by itself.")
@click.option("--segment-s", default=3600.0, help="Length of a v2 host's segments; time cursors find sealed ones only.")
@click.option("--listen", default="127.0.0.1", help="Address to listen at.")
@click.option("--port", default=0, help="First port: pds, then appview, plc, web, control, the hosts. 0: free ones.")
@click.option("--wait/--no-wait", default=False, help="Say ready only when the whole past was told.")
@click.option("--now", "now_us", type=int, help="Unix microseconds at which the past ends; time stands still there.")
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """A made-up Bluesky that speaks the real wires, for trying out anything that listens to Bluesky.

    \b
    It serves, each at an address of its own:
      jetstream  both wires: /subscribe, and on v2 hosts network.bsky.jetstream.subscribeEvents with zstd
      plc        a PLC directory: GET /{did}
      web        the hosts behind did:web and handles, told apart by the Host header (it can be an HTTP proxy)
      pds        com.atproto.repo.listRecords and getRecord, com.atproto.identity.resolveHandle
      appview    app.bsky.feed.getPosts, app.bsky.actor.getProfile(s)
      control    service tokens, sample readers, faults, made-up events

    When all of them listen, one line of JSON with the addresses goes to stdout. It ends cleanly at SIGTERM or Ctrl-C.

    \b
    Try it:
      feedgen simnet --people 500 --port 7000 &
      curl localhost:7004/_ctl/                                   everything about this network
      curl localhost:7004/_ctl/readers?k=3                        people to be
      curl 'localhost:7004/_ctl/token?person=7&aud=did:web:feed.example'
      curl -X POST localhost:7004/_ctl/faults -d '{"kind": "close", "where": "jetstream/0"}'
      websocat 'ws://localhost:7005/subscribe?wantedCollections=app.bsky.feed.like'

    \b
    Faults: {"kind": ..., "where": "jetstream" | "jetstream/0" | "plc" | "web" | "pds" | "appview" | "*",
    "count": times, "duration_s": seconds, and options}. DELETE ends them. The kinds:
      refuse   new connections are reset, or answered with "status"
      stall    nothing is sent, sockets stay open
      slow     a stream gives "rate" events/s, an answer comes "delay_s" late
      close    a socket closes with no close frame; with "code", after a close frame
      error    a stream ends with an error frame "name"; a request is answered with "status"
      corrupt  a frame or answer is broken: "how" is cut, bytes, type or zstd
      drop     an event is not sent             repeat   the last "events" events come again
      half     the AppView leaves out every other post or profile of an answer
      reorder  a second's events are mixed up   jump     the sequence goes on "by" so many higher
      compact  an archive leaves out what was deleted since (where: "jetstream/0/archive")
    """
    if context.invoked_subcommand is not None:
        return
    with contextlib.suppress(KeyboardInterrupt):
        runner()(serve(_options(options)))


@main.command(context_settings=_CONTEXT)
@click.option("--person", default=0, help="Who, by number.", type=click.IntRange(0))
@click.option("--people", default=1000, help="As the network was started.")
@click.option("--seed", default=1, help="As the network was started.")
@click.option("--aud", required=True, help="The service's DID.")
@click.option("--lxm", default="app.bsky.feed.getFeedSkeleton", help="The method it is good for.")
@click.option("--lifetime-s", default=60.0, help="How long it is good for.")
@click.option("--fragment", default="", help="Of the issuer, as in did:plc:...#fragment.")
@click.option("--high-s", is_flag=True, help="With the other of the two valid signatures.")
def token(
    person: int, people: int, seed: int, aud: str, lxm: str, lifetime_s: float, fragment: str, high_s: bool
) -> None:
    """A service token signed as one of the people; needs no running network."""
    from feedgen.simnet import tokens
    from feedgen.simnet.people import People

    if person >= people:
        raise click.BadParameter(f"there are {people} people", param_hint="--person")
    everybody = People(seed, people)
    click.echo(
        tokens.service_token(
            everybody.dids[person], everybody.signing_key(person), aud, lxm or None,
            now_s=time.time(), lifetime_s=lifetime_s, fragment=fragment, high_s=high_s,
        )
    )  # fmt: skip


def hosts_of(given: dict[str, Any], seq_step: int = 7_000_000) -> tuple[HostOptions, ...]:
    """The hosts that the command line asks for; the numbering of each begins `seq_step` after the last one's."""
    from feedgen.simnet.jetstream import HostOptions

    flavours = [name.strip() for name in given["hosts"].split(",") if name.strip()]
    if not flavours or set(flavours) - {"v2", "legacy"}:
        raise click.BadParameter(f"v2 or legacy, and commas between them, not {given['hosts']!r}", param_hint="--hosts")
    lookback_h = given["lookback_h"]
    return tuple(
        HostOptions(
            flavour,
            lookback_s=None if lookback_h is None else math.inf if lookback_h < 0 else lookback_h * 3600,
            ping_s=given["ping_s"],
            outbox_events=given["outbox"],
            max_rate=given["max_rate"],
            segment_s=given["segment_s"],
            batched=given["batched"],
            first_seq=1 + seq_step * number,
        )
        for number, flavour in enumerate(flavours)
    )


def _options(given: dict[str, Any]) -> SimnetOptions:
    from feedgen.simnet.server import SimnetOptions

    return SimnetOptions(
        seed=given["seed"],
        people=given["people"],
        history_days=given["days"],
        per_person_day=given["per_person_day"],
        live_rate=given["rate"],
        odd_share=given["odd"],
        now_us=given["now_us"],
        hosts=hosts_of(given),
        listen=given["listen"],
        port=given["port"],
        wait=given["wait"],
    )


def runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def serve(options: SimnetOptions) -> None:
    """Until SIGTERM or Ctrl-C."""
    from feedgen.simnet.server import Simnet

    simnet = Simnet(options)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.ensure_future(stop.wait())
    opening = asyncio.ensure_future(simnet.open())
    await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        opening.cancel()
        await asyncio.wait([opening])
    else:
        await opening
        _say_ready(simnet)
        running = asyncio.ensure_future(simnet.run())
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
    await simnet.close()  # raises if the world could not go on


def _say_ready(simnet: Simnet) -> None:
    status = simnet.status_of()
    print(json.dumps({"ready": True, **status["addresses"], "seed": status["seed"], "people": status["people"]}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
