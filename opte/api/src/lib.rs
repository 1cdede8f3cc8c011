// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Words that the engine and its callers share.
//!
//! From the bottom up: addresses ([`MacAddr`], [`IpCidr`], [`Vni`], [`DomainName`]), packet
//! vocabulary ([`Direction`], [`Protocol`], [`FlowId`]), and the wire of requests
//! ([`frame`], [`ioctl`], [`OpteError`]); [`Gather`] fills maps where stacks are short. Nothing here knows a network's configuration (that is
//! `oxide-vpc-api`) or processes a packet (that is `opte`).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cidr;
mod domain;
mod error;
mod flow;
pub mod frame;
mod gather;
pub mod ioctl;
mod mac;
mod vni;

pub use cidr::{CidrParseError, IpCidr};
pub use domain::{DomainName, DomainNameError};
pub use error::{ErrorSource, OpteError};
pub use flow::{Direction, FlowId, Protocol};
pub use gather::Gather;
pub use mac::{MacAddr, MacParseError};
pub use vni::{Vni, VniError};
