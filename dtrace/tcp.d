#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * How do TCP connections change their state?
 */

#pragma D option quiet

sdt:xde::tcp-state
{
	this->e = (struct opte_tcp_changed *)arg0;
	printf("port %d %s %s to %s flags 0x%x %s:%d > %s:%d proto %d\n",
	    this->e->port, opte_direction[this->e->direction],
	    opte_tcp_state[this->e->from], opte_tcp_state[this->e->to], this->e->flags,
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
	@changes[opte_tcp_state[this->e->from], opte_tcp_state[this->e->to]] = count();
}
