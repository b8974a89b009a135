"""How long a page takes at each load, by preset: readers, Caddy and the network share the cores with the service.

The mix of requests and the connections are those of `scripts/bench serve`.

`scripts/draw_load.py` draws it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.benchmarks import Figure, Params, serve
from scripts.benchmarks._service import Readers, Service, errors_of, flood, known_accounts, said, stopping

PARAMETERS = {
    **{name: serve.PARAMETERS[name] for name in ("ratings", "people", "readers")},
    "presets": "default foryou cheap",
    "rates": "100 200 420 840",  # pages/s
    "seconds": 8.0,  # of each
}


def run(params: Params) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        readers = Readers(params)
        known_accounts(Path(folder), readers.dids, readers.keys)
        with stopping(readers), flood(params, "--ratings", str(params["ratings"])) as network:
            urls, new = network.urls, int(params["ratings"])
            for preset in str(params["presets"]).split():
                service = Service(Path(folder), urls.jetstream[0], urls.plc, more={"rank.preset": preset}, caddy=True)
                with stopping(service):
                    service.idle(new)
                    new = 0  # the others find it in the folder
                    readers.phase(service, network, 100.0, serve.WARM_UP_S)
                    for rate in map(float, str(params["rates"]).split()):
                        found = readers.phase(service, network, rate, float(params["seconds"]))
                        name = f"load.{preset}_{rate:.0f}"
                        yield Figure(f"{name}_p99_ms", found["p99_ms"], "ms", said(found))
                        yield Figure(f"{name}_p50_ms", found["p50_ms"], "ms")
                        yield Figure(f"{name}_errors", errors_of(found), "requests", f"of {found['sent']}")
