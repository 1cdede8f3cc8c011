// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Probes: calls of functions that do not exist, of which the loader leaves five bytes that do nothing.
//!
//! Who wants to know of a probe writes a trap into the second of them, and the handler of invalid
//! instructions reads the arguments where the call would have had them: `rdi`, `rsi`, `rdx`, `rcx`,
//! `r8`, `r9`.

use alloc::string::String;

const NOP: u8 = 0x90;
const RETURN: u8 = 0xc3;
/// A prefix that no instruction which does nothing may have: the processor traps.
pub(crate) const TRAP: u8 = 0xf0;

/// A place where a probe fires.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Site {
    /// The probe as DTrace shows it, such as `flow-opened`.
    pub probe: String,
    /// The function that it is in.
    pub function: String,
    /// Where a trap is, while it is switched on.
    pub address: usize,
    /// The function ends here.
    pub is_tail: bool,
}

/// A trap that is a probe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trap<'a> {
    /// Which one.
    pub site: &'a Site,
    /// Its number among [`crate::Loaded::sites`].
    pub index: usize,
    /// Where to go on.
    pub resume: usize,
}

/// Takes a call out: the opcode and the four bytes behind it.
pub(crate) fn patch(call: &mut [u8], is_tail: bool) {
    call.fill(NOP);
    if let Some(last) = call.last_mut().filter(|_| is_tail) {
        *last = RETURN;
    }
}

/// What is at a site while it is switched off, or on.
pub(crate) const fn byte(enabled: bool) -> u8 {
    if enabled { TRAP } else { NOP }
}
