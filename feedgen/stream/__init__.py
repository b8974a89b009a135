"""The stream: every event of the network with what belongs to it, over one websocket. Off without `[stream] bind`.

ingest/tap -> hub (which consumers want it) -> lane (joins, in order) -> formats (encoded once) -> consumers
"""
