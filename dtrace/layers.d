#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * How many packets does each layer decide about, by port, direction and rule?
 */

#pragma D option quiet

sdt:xde::rule-matched
{
	this->e = (struct opte_rule_matched *)arg0;
	@decided[this->e->port, opte_direction[this->e->direction], opte_layer[this->e->layer], (int64_t)this->e->rule] = count();
}
