#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Which rule decided about a packet that ran no stored transform? The largest number is the default of a layer.
 */

#pragma D option quiet

sdt:xde::rule-matched
{
	this->e = (struct opte_rule_matched *)arg0;
	printf("port %d %s layer %s rule %d %s:%d > %s:%d proto %d\n",
	    this->e->port, opte_direction[this->e->direction],
	    opte_layer[this->e->layer], (int64_t)this->e->rule,
	    inet_ntoa6((in6_addr_t *)&this->e->key.src), this->e->key.src_port,
	    inet_ntoa6((in6_addr_t *)&this->e->key.dst), this->e->key.dst_port,
	    this->e->key.protocol);
}
