// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `sys/id_space.h`: numbers that are given out and come back.

use super::types::{c_char, id_t};

opaque! {
    /// A range of numbers.
    id_space_t;
}

unsafe extern "C" {
    /// A range from `low` to below `high`; null when it could not be made. May wait for memory.
    ///
    /// Context: user, kernel. Source: id_space(9F).
    pub fn id_space_create(name: *const c_char, low: id_t, high: id_t) -> *mut id_space_t;

    /// Ends a range of which no number is out. May wait.
    ///
    /// Context: user, kernel. Source: id_space(9F).
    pub fn id_space_destroy(space: *mut id_space_t);

    /// A number that is not out; -1 when there is none, or no memory.
    ///
    /// Context: user, kernel, interrupt. Source: id_space(9F).
    pub fn id_alloc_nosleep(space: *mut id_space_t) -> id_t;

    /// Gives a number back.
    ///
    /// Context: user, kernel, interrupt. Source: id_space(9F).
    pub fn id_free(space: *mut id_space_t, number: id_t);
}
