// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The stream of each platform, one file each; this is the only place that chooses. A file defines:
//!
//! * `default_path() -> PathBuf`: where the engine is, unless told otherwise;
//! * `ABSENT`: what to do when there is no engine there;
//! * `Link::open(&Path) -> io::Result<Link>`: reaches it;
//! * `Link::exchange(&mut self, &[u8], usize) -> Result<(Header, Vec<u8>), Error>`: sends one request
//!   frame, once, and returns the answer, for which it sets so many bytes aside if it must. After an
//!   error the link is not used again;
//! * `public_counters(Option<&PortName>) -> Option<Result<Vec<CounterSet>, Error>>`: counters from
//!   where everybody may read them, if there is such a place.
//!
//! The Linux file uses nothing but Unix sockets and so serves every Unix whose engine is a process.

#[cfg_attr(target_os = "illumos", path = "illumos.rs")]
#[cfg_attr(target_os = "illumos", allow(unsafe_code, reason = "an ioctl and libdladm"))]
#[cfg_attr(all(unix, not(target_os = "illumos")), path = "linux.rs")]
mod platform;

#[cfg(not(target_os = "illumos"))]
pub(crate) mod exchange;
#[cfg(target_os = "illumos")]
mod kstat;

pub(crate) use platform::{ABSENT, Link, default_path, public_counters};
