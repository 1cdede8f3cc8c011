#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * When do connections come and go, and why do they end?
 */

#pragma D option quiet

sdt:xde::flow-opened
{
	this->e = (struct opte_flow_opened *)arg0;
	printf("port %d opened %s rule %d %s:%d > %s:%d proto %d\n",
	    this->e->port, opte_direction[this->e->direction], (int64_t)this->e->rule,
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
}

sdt:xde::flow-ended
{
	this->e = (struct opte_flow_ended *)arg0;
	printf("port %d ended %s %s %s:%d > %s:%d proto %d\n",
	    this->e->port, opte_flow_end[this->e->end], opte_cut_reason[this->e->reason],
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
	@ended[opte_flow_end[this->e->end], opte_cut_reason[this->e->reason]] = count();
}
