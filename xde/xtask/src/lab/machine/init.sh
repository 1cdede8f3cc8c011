#!/bin/busybox sh
# This Source Code Form is subject to the terms of the Mozilla Public
# License, v. 2.0. If a copy of the MPL was not distributed with this
# file, You can obtain one at https://mozilla.org/MPL/2.0/.

# All that the lab's virtual machine does: it fetches its address, looks at its gateway, fetches
# files, and serves a page. Each thing done is a line that begins with VM. Whom to ask stands in
# variables that the kernel takes from its command line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo 1 >/proc/sys/kernel/printk
echo "VM up $(uname -r)"

fail() {
    echo "VM failed: $*"
    ip addr
    ip route
    poweroff -f
}

# Those that the kernel has built in are not there.
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover \
    net_failover virtio_net ipv6 af_packet; do
    [ ! -e "/lib/$module.ko" ] || insmod "/lib/$module.ko" || fail "insmod $module"
done
[ -e /sys/class/net/eth0 ] || fail "there is no eth0"
ip link set lo up
ip link set eth0 up

udhcpc -i eth0 -f -q -n -t 10 -T 1 -O mtu -O staticroutes -s /tmp/dhcp-event 2>/dev/null >/dev/null ||
    fail "udhcpc"
value() { sed -n "s/^$1=//p" /tmp/eth0.lease4; }
echo "VM lease $(value ip) $(value router) $(value mtu) $(value dns)"

ping -c 3 -W 2 "$GATEWAY4" >/dev/null || fail "ping $GATEWAY4"
# Its link-local address must first be known to be nobody else's.
tries=0
until ip -6 addr show dev eth0 scope link | grep fe80 | grep -qv tentative; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "duplicate address detection"
    usleep 50000
done
ping6 -c 3 -W 2 -I eth0 "$GATEWAY6" >/dev/null || fail "ping $GATEWAY6"
echo "VM pings"

sum=$(wget -q -O - "http://$PEER/$PAGE" | sha256sum)
echo "VM transfer ${sum%% *}"
echo "VM outside $(wget -q -O - "http://$OUTSIDE/$PAGE")"

mkdir /tmp/www
echo virtual >/tmp/www/index.html
httpd -p 80 -h /tmp/www || fail "httpd"
echo "VM serves"
# The lab ends it.
while :; do sleep 1000; done
