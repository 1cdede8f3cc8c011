// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine's host on Linux.

pub mod boundary;
pub mod check;
pub mod coalesce;
pub mod control;
pub mod counters;
pub mod engine;
pub mod host;
pub mod hypervisor;
pub mod inner;
pub mod outbox;
pub mod packet;
pub mod platform;
pub mod poller;
pub mod segment;
pub mod service;
pub mod settings;
pub mod signals;
pub mod sum;
pub mod sys;
pub mod tap;
pub mod underlay;
pub mod vnet;
pub mod worker;
