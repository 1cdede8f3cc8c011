#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Where in the underlay do packets of a flow go?
 */

#pragma D option quiet

sdt:xde::next-hop
{
	this->e = (struct opte_next_hop *)arg0;
	printf("port %d vni %d to %s %s:%d > %s:%d proto %d\n",
	    this->e->port, this->e->vni, inet_ntoa6((in6_addr_t *)&this->e->outer_dst),
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
}
