#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * Which requests are served or refused, and how long does each take?
 */

#pragma D option quiet

sdt:xde::control-begin
{
	self->begun = timestamp;
}

sdt:xde::control-end
/self->begun/
{
	this->e = (struct opte_control_ended *)arg0;
	printf("%s %s %d us\n", opte_command[this->e->code],
	    this->e->served ? "served" : "refused", (timestamp - self->begun) / 1000);
	self->begun = 0;
}
