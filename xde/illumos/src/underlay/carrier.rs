// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Whether a link is up, as far as its driver can tell.
//!
//! Looked at with every periodic call, so what is known is at most that old. A link whose driver
//! cannot tell counts as up.

use core::sync::atomic::{AtomicBool, Ordering};
use illumos_sys_hdrs::sys::mac::{LINK_STATE_DOWN, link_state_t, mac_handle_t};
use illumos_sys_hdrs::sys::mac_client_priv::mac_link_get;

/// What is known of a link that was opened.
pub struct Carrier {
    link: mac_handle_t,
    down: AtomicBool,
}

// SAFETY: a handle has no tie to a thread; the rest is atomic.
unsafe impl Send for Carrier {}
// SAFETY: as above.
unsafe impl Sync for Carrier {}

impl Carrier {
    /// Of an open link, which counts as up until it is looked at.
    pub const fn of(link: mac_handle_t) -> Self {
        Self { link, down: AtomicBool::new(false) }
    }

    /// Whether it was up when it was looked at last.
    pub fn is_up(&self) -> bool {
        !self.down.load(Ordering::Relaxed)
    }

    /// Looks at it; `Some` if it went up (true) or down since the last time. In user or kernel
    /// context.
    ///
    /// # Safety
    ///
    /// The link is still open.
    pub unsafe fn look(&self) -> Option<bool> {
        // SAFETY: open, as the caller promises.
        self.note(unsafe { mac_link_get(self.link) })
    }

    fn note(&self, state: link_state_t) -> Option<bool> {
        let down = state == LINK_STATE_DOWN;
        (self.down.swap(down, Ordering::Relaxed) != down).then_some(!down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::null_mut;
    use illumos_sys_hdrs::sys::mac::{LINK_STATE_UNKNOWN, LINK_STATE_UP};

    #[test]
    fn changes_are_told_once_and_unknown_is_up() {
        let carrier = Carrier::of(null_mut());
        let told = [LINK_STATE_UP, LINK_STATE_DOWN, LINK_STATE_DOWN, LINK_STATE_UNKNOWN];
        let told = told.map(|state| (carrier.note(state), carrier.is_up()));
        assert_eq!(told, [(None, true), (Some(false), false), (None, false), (Some(true), true)]);
    }
}
