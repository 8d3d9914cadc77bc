#!/bin/sh
# Makes what is missing in the state directory, then registers the clients. Safe to run again.
set -eu
umask 077
state=/var/lib/symbolon
[ -e "$state/ca.pem" ] || symbolon ca init --dir "$state"
issue() { [ -e "$state/$1.pem" ] || symbolon cert issue --dir "$state" --name "$@"; }
issue server --server --dns server
issue gateway --server --dns gateway
issue gateway-client --client
issue alice --client
[ -e "$state/seal.key" ] || head -c 32 /dev/urandom | base64 >"$state/seal.key"
symbolon client apply /etc/symbolon/clients.json --config /etc/symbolon/symbolon.toml
