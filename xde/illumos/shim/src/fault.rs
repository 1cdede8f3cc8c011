// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Calls that fail on purpose: the n-th of a name, once.

use crate::world::with;
use alloc::collections::BTreeMap;

/// Calls that may fail, as their manual pages or headers say, and how they do it here. Of
/// `kmem_alloc` only calls that do not wait are counted and fail; `ddi_modsym` finds nothing.
pub const FALLIBLE: &[&str] = &[
    "allocb",
    "ddi_copyin",
    "ddi_copyout",
    "ddi_create_minor_node",
    "ddi_modopen",
    "ddi_modsym",
    "ddi_periodic_add",
    "dld_str_create_detached",
    "dls_devnet_create",
    "dls_devnet_destroy",
    "dls_devnet_hold",
    "dls_link_hold",
    "dls_mgmt_get_linkid",
    "dls_open",
    "dupmsg",
    "ire_ftable_lookup_v6",
    "kmem_alloc",
    "kstat_create",
    "mac_capab_get",
    "mac_client_open",
    "mac_hw_emul",
    "mac_maxsdu_update",
    "mac_open_by_linkid",
    "mac_perim_enter_by_linkid",
    "mac_promisc_add",
    "mac_register",
    "mac_unregister",
    "mod_install",
    "mod_remove",
    "nce_lookup_v6",
    "netstack_find_by_zoneid",
    "random_get_bytes",
    "random_get_pseudo_bytes",
    "secpolicy_dl_config",
];

pub(crate) struct Faults {
    calls: BTreeMap<&'static str, u64>,
    armed: Option<(&'static str, u64)>,
}

impl Faults {
    pub(crate) const fn new() -> Self {
        Self { calls: BTreeMap::new(), armed: None }
    }

    /// Counts a call; whether it is to fail.
    pub(crate) fn count(&mut self, name: &'static str) -> bool {
        *self.calls.entry(name).or_default() += 1;
        match &mut self.armed {
            Some((armed, left)) if *armed == name => {
                *left -= 1;
                let now = *left == 0;
                if now {
                    self.armed = None;
                }
                now
            }
            _ => false,
        }
    }
}

/// The `nth` call of this name from now on fails; 1 is the next. `name` is one of [`FALLIBLE`].
pub fn fail(name: &'static str, nth: u64) {
    assert!(FALLIBLE.contains(&name) && nth > 0, "{name} does not fail");
    with(|world| world.faults.armed = Some((name, nth)));
}

/// Whether a failure still waits for its call; none does afterwards.
pub fn disarm() -> bool {
    with(|world| world.faults.armed.take().is_some())
}

/// How often each name was called since the last time this was asked.
pub fn take_calls() -> BTreeMap<&'static str, u64> {
    with(|world| core::mem::take(&mut world.faults.calls))
}
