// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine's host on Linux.

pub mod coalesce;
pub mod counters;
pub mod inner;
pub mod outbox;
pub mod packet;
pub mod segment;
pub mod sys;
pub mod tap;
pub mod underlay;
pub mod vnet;
