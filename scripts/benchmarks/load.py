"""How long a page takes at each load, by preset: the load generator and the network share the cores with the service.

`scripts/draw_load.py` draws it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from scripts.benchmarks import Figure, Params, serve

PARAMETERS = {
    **{name: serve.PARAMETERS[name] for name in ("ratings", "people", "readers")},
    "presets": "default foryou cheap",
    "rates": "100 200 420 840 1260",  # requests/s
    "seconds": 8.0,  # of each
}


def run(params: Params) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        readers = serve.Readers(params)
        serve.known_accounts(Path(folder), readers.dids, readers.keys)
        with serve.stopping(readers), serve.flood(params, "--ratings", str(params["ratings"])) as network:
            urls, new = network.urls, int(params["ratings"])
            for preset in str(params["presets"]).split():
                service = serve.Service(Path(folder), urls.jetstream[0], urls.plc, more={"rank.preset": preset})
                with serve.stopping(service):
                    service.idle(new)
                    new = 0  # the others find it in the folder
                    readers.phase(service, network, 100.0, serve.WARM_UP_S)
                    for rate in map(float, str(params["rates"]).split()):
                        found = readers.phase(service, network, rate, float(params["seconds"]))
                        name = f"load.{preset}_{rate:.0f}"
                        yield Figure(f"{name}_p99_ms", found["p99_ms"], "ms", serve.said(found))
                        yield Figure(f"{name}_p50_ms", found["p50_ms"], "ms")
                        yield Figure(f"{name}_errors", serve.errors_of(found), "requests", f"of {found['sent']}")
