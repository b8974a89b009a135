"""A made-up Bluesky that speaks the real wires: the demo, the tests and the benchmarks run on it.

    world, lively     people and what they do        (people, truth, behaviour, posts, odd, tell, records, wire)
    history           what has been said, for all hosts
    jetstream, subscriber, filters     both Jetstream wires
    plc, pds, appview     directories, repositories, views
    tokens, faults, control     service tokens; things that go wrong on command; the routes to ask for either
    server, process, cli     all of it in one loop, in a process of its own, as a command

The whole network's volume, as ready-made bytes, is in scripts/benchmarks/flood.
Nothing of feedgen but `core` is imported here, and nothing but commands, tests and benchmarks imports this.
"""
