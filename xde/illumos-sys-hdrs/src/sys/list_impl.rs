// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/list_impl.h`: links of lists that the kernel keeps inside its structures. Never touched
//! here.

use super::types::size_t;

/// Link of one element.
#[repr(C)]
pub struct list_node_t {
    pub(crate) list_next: *mut list_node_t,
    pub(crate) list_prev: *mut list_node_t,
}

/// Head of a list.
#[repr(C)]
pub struct list_t {
    pub(crate) list_size: size_t,
    pub(crate) list_offset: size_t,
    pub(crate) list_head: list_node_t,
}
