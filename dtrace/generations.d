#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * When does a policy come into force?
 */

#pragma D option quiet

sdt:xde::published
{
	this->e = (struct opte_published *)arg0;
	printf("port %d generation %u\n",
	    this->e->port, this->e->generation);
}
