#!/bin/sh
# Made by `feedgen vps`. On the VPS, as root:
#
#   sh install.sh          puts everything in place and starts it; may be run again
#   sh install.sh --undo   takes it all away, and brings back the Caddyfile that was there before
#
# DESTDIR=/some/folder puts the files there instead, and starts nothing.
set -eu
cd "$(dirname "$0")"
root=${DESTDIR-}
caddyfile=$root/etc/caddy/Caddyfile
dropin=$root/etc/systemd/system/caddy.service.d/feedgen.conf
unit=$root/etc/systemd/system/feedgen-egress.service
program=$root/usr/local/lib/feedgen/feedgen-egress.pyz
fallback=$root/var/lib/feedgen-fallback

say() { echo "feedgen: $*"; }
die() { echo "feedgen: $*" >&2; exit 1; }
# Only for the real machine, not for DESTDIR.
here() { [ -n "$root" ] || "$@"; }
[ -n "$root" ] || [ "$(id -u)" = 0 ] || die "this needs root: sudo sh $0"

if [ "${1-}" = --undo ]; then
    here systemctl disable --now feedgen-egress.service || true
    rm -rf "$unit" "$dropin" "$program" "$fallback"
    rm -f "$caddyfile"
    [ ! -e "$caddyfile.before-feedgen" ] || mv "$caddyfile.before-feedgen" "$caddyfile"
    here systemctl daemon-reload
    here systemctl restart caddy || true
    here userdel feedgen-egress || true
    say "taken away. Caddy itself stays: apt-get remove caddy"
    exit 0
fi

for program_needed in caddy python3; do
    command -v $program_needed >/dev/null || here apt-get install -y $program_needed || die "install $program_needed first"
done
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed (Debian 12 has it)"

say "looking at the Caddyfile"
# With the values that Caddy's service will have.
(
    while read -r line; do
        case $line in Environment=*) export "${line#Environment=}" ;; esac
    done <caddy.conf
    caddy validate --config Caddyfile --adapter caddyfile >caddy.log 2>&1
) || die "Caddy does not take its file; nothing was changed. It said: $(tail -n 1 caddy.log)"

say "putting the files in place"
here sh -c 'id feedgen-egress >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin feedgen-egress'
install -d -m 755 "$fallback"
[ ! -d fallback ] || cp -R fallback/. "$fallback/"
here chown -R feedgen-egress:feedgen-egress "$fallback"
if [ -e "$caddyfile" ] && [ ! -e "$caddyfile.before-feedgen" ]; then cp "$caddyfile" "$caddyfile.before-feedgen"; fi
install -D -m 644 Caddyfile "$caddyfile"
install -D -m 644 caddy.conf "$dropin"
install -D -m 755 feedgen-egress.pyz "$program"
install -D -m 644 feedgen-egress.service "$unit"

here systemctl daemon-reload
here systemctl enable --now feedgen-egress.service
here systemctl restart feedgen-egress.service caddy.service
say "done. See how it is: systemctl status caddy feedgen-egress"
