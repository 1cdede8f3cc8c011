// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Headers below `inet/`: the IP stack, for next hops of the underlay.
//!
//! All of it is private to the kernel. What look-ups return is held until released; of the
//! structures a driver reads the public fields alone.

pub mod ip;
pub mod ip_ill;
pub mod ip_ire;
pub mod ip_ndp;
