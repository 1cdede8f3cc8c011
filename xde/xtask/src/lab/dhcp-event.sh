#!/bin/sh
# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

# What a guest of the lab does with a lease. udhcpc calls it with the event as its argument,
# dhclient with the event in $reason; both tell of the lease in variables, which are kept for
# the checks. The resolver's configuration is the machine's and is left alone.
set -e
dir=$(dirname "$0")

bound4() {
    env >"$dir/$interface.lease4"
    ip -4 addr flush dev "$interface"
    ip -4 addr add "$ip/$mask" dev "$interface"
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    if [ -n "$staticroutes" ]; then
        # RFC 3442: these stand in place of the router option.
        set -- $staticroutes
        while [ $# -ge 2 ]; do
            case $2 in
                0.0.0.0) ip -4 route replace "$1" dev "$interface" scope link ;;
                *) ip -4 route replace "$1" via "$2" dev "$interface" ;;
            esac
            shift 2
        done
    else
        for address in $router; do
            ip -4 route replace "$address/32" dev "$interface" scope link
            ip -4 route replace default via "$address" dev "$interface"
            break
        done
    fi
}

bound6() {
    env >"$dir/$interface.lease6"
    ip -6 addr replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" nodad
}

case ${1:-$reason} in
    bound | renew) bound4 ;;
    BOUND6 | RENEW6 | REBIND6) bound6 ;;
esac
