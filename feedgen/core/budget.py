"""How long anything may take while somebody waits: all of it comes out of the AppView's 5 s.

    AppView ──NETWORK──> Caddy on the VPS ──(RETRY, DIAL) TUNNEL──> home ──> answer

After APPVIEW_S the AppView throws the answer away and nobody learns of it. So Caddy answers within VPS_S whatever
happens: it looks for home for RETRY_S, a connection may take DIAL_S, and then home's answer is waited for for WAIT_S.
Home answers within HOME_S of a request's arrival, be it with the popular list or "too busy". `feedgen vps` writes
Caddy's share into its Caddyfile.
"""

from __future__ import annotations

from typing import Final

APPVIEW_S: Final = 5.0
NETWORK_S: Final = 0.5  # from the AppView to the VPS and back
VPS_S: Final = APPVIEW_S - NETWORK_S
RETRY_S: Final = 1.0  # a home that refuses may be restarting
DIAL_S: Final = 0.5
WAIT_S: Final = VPS_S - RETRY_S - DIAL_S
TUNNEL_S: Final = 0.5  # there and back, with a packet that is lost
HOME_S: Final = WAIT_S - TUNNEL_S
RANK_S: Final = HOME_S - 0.3  # then the page is made of another list, and written
MET_S: Final = RANK_S - 0.7  # what is asked of others about a reader is waited for so long; ranking takes the rest
KEY_S: Final = 1.2  # a reader's key; without it they read as nobody
BODY_S: Final = HOME_S - 0.5  # until the last byte of a body
# What apps tell comes from a PDS, which never sends it again and leaves after PDS_S. A home that refused has just
# started, and answers within HOME_S; one whose socket systemd holds may take longer.
PDS_S: Final = 10.0
TOLD_RETRY_S: Final = PDS_S - NETWORK_S - DIAL_S - WAIT_S
TOLD_WAIT_S: Final = PDS_S - NETWORK_S - DIAL_S
OUTSIDE_S: Final = HOME_S / 2 - 0.15  # one question to another server; a page asks two at most, one after the other
