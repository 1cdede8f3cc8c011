#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Why are packets dropped? Each one, and the counts by reason at the end.
 */

#pragma D option quiet

sdt:xde::dropped
{
	this->e = (struct opte_dropped *)arg0;
	printf("port %d %s %s %s:%d > %s:%d proto %d\n",
	    this->e->port, opte_direction[this->e->direction],
	    opte_drop_reason[this->e->reason],
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
	@drops[opte_drop_reason[this->e->reason]] = count();
}
