#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Which external addresses and ports are taken and given back, and when is none left? Only translated
 * connections are shown.
 */

#pragma D option quiet

sdt:xde::flow-opened
/((struct opte_flow_opened *)arg0)->back.dst_port != ((struct opte_flow_opened *)arg0)->key.src_port ||
    ((struct opte_flow_opened *)arg0)->back.dst[15] != ((struct opte_flow_opened *)arg0)->key.src[15]/
{
	this->e = (struct opte_flow_opened *)arg0;
	printf("port %d takes %s:%d for %s:%d\n",
	    this->e->port, inet_ntoa6((in6_addr_t *)&this->e->back.dst),
	    this->e->back.dst_port, inet_ntoa6((in6_addr_t *)&this->e->key.src),
	    this->e->key.src_port);
}

sdt:xde::flow-ended
/((struct opte_flow_ended *)arg0)->back.dst_port != ((struct opte_flow_ended *)arg0)->key.src_port ||
    ((struct opte_flow_ended *)arg0)->back.dst[15] != ((struct opte_flow_ended *)arg0)->key.src[15]/
{
	this->e = (struct opte_flow_ended *)arg0;
	printf("port %d leaves %s:%d of %s:%d\n",
	    this->e->port, inet_ntoa6((in6_addr_t *)&this->e->back.dst),
	    this->e->back.dst_port, inet_ntoa6((in6_addr_t *)&this->e->key.src),
	    this->e->key.src_port);
}

sdt:xde::exhausted
{
	this->x = (struct opte_exhausted *)arg0;
	printf("port %d has none left for %s:%d\n",
	    this->x->port, inet_ntoa6((in6_addr_t *)&this->x->key.src), this->x->key.src_port);
}
