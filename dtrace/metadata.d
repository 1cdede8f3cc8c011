#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Which gateway was chosen for a packet? This, and all else that layers tell each other.
 */

#pragma D option quiet

sdt:xde::stamped
{
	this->e = (struct opte_stamped *)arg0;
	printf("port %d %s %s %s %s:%d > %s:%d proto %d\n",
	    this->e->port, opte_direction[this->e->direction], opte_slot[this->e->slot],
	    inet_ntoa6((in6_addr_t *)&this->e->value),
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
}
