#!/usr/sbin/dtrace -s
/*
 * This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/.
 *
 * How long do packets take: those that are decided anew, and whole batches by the number of frames?
 */

#pragma D option quiet

sdt:xde::decide-begin
{
	self->decide = timestamp;
}

sdt:xde::decide-end
/self->decide/
{
	this->e = (struct opte_decide_ended *)arg0;
	@decided[opte_direction[this->e->direction]] = quantize(timestamp - self->decide);
	self->decide = 0;
}

sdt:xde::batch-begin
{
	self->batch = timestamp;
}

sdt:xde::batch-end
/self->batch/
{
	this->e = (struct opte_batch_ended *)arg0;
	@batch[this->e->frames] = quantize(timestamp - self->batch);
	self->batch = 0;
}
