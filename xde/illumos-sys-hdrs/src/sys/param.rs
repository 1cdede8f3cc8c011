// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/param.h`: longest names.

/// Longest path with its closing NUL, in bytes.
pub const MAXPATHLEN: usize = 1024;
/// Longest name with its closing NUL, in bytes.
pub const MAXNAMELEN: usize = 256;
/// Longest name of a data link with its closing NUL, in bytes.
pub const MAXLINKNAMELEN: usize = 32;
