// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the engine takes from this host: exclusion, eyes, time and a secret.

use crate::lock::{Mutex, Token, checked};
use core::ffi::c_int;
use illumos_sys_hdrs::sys::random::{random_get_bytes, random_get_pseudo_bytes};
use illumos_sys_hdrs::sys::time::gethrtime;
use opte::event::{Event, Traced};
use opte::host::{Host, Moment, Observer};

/// The engine's host in the illumos kernel.
pub struct IllumosHost;

impl Host for IllumosHost {
    type Lock<T: Send> = Mutex<T>;
    type Token<T: Send> = Token<T>;
    type Observer = Probes;
}

/// Declares a probe for each of the engine's events. Its argument is the address of the event's
/// structure, which lives as long as the probe fires.
macro_rules! probes {
    ($($event:ident $probe:ident;)*) => {
        illumos_sys_hdrs::sdt_probes! { $(
            /// The probe of one event: the address of its structure.
            fn $probe(event);
        )* }

        /// Fires the probe of an event. While nobody watches, the call does nothing; what it is
        /// given lies on the stack already, and nothing is allocated or formatted.
        #[inline]
        fn fire(event: &Event) {
            match event {
                $(Event::$event(it) => $probe(core::ptr::from_ref(it).expose_provenance()),)*
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($probe)),*];
    };
}

probes! {
    Dropped __dtrace_probe_dropped;
    RuleMatched __dtrace_probe_rule__matched;
    Stamped __dtrace_probe_stamped;
    FlowOpened __dtrace_probe_flow__opened;
    FlowEnded __dtrace_probe_flow__ended;
    Exhausted __dtrace_probe_exhausted;
    TcpChanged __dtrace_probe_tcp__state;
    NextHop __dtrace_probe_next__hop;
    Published __dtrace_probe_published;
    DecideBegun __dtrace_probe_decide__begin;
    DecideEnded __dtrace_probe_decide__end;
    BatchBegun __dtrace_probe_batch__begin;
    BatchEnded __dtrace_probe_batch__end;
    ControlBegun __dtrace_probe_control__begin;
    ControlEnded __dtrace_probe_control__end;
}

/// Shows the engine's events to DTrace: the structures as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probes;

impl Observer for Probes {
    #[inline]
    fn tell<E: Traced>(&self, event: impl FnOnce() -> E) {
        fire(&event().into());
    }
}

/// The time now.
pub fn now() -> Moment {
    // SAFETY: reads a clock, in any context.
    let nanos = unsafe { gethrtime() };
    Moment::from_millis(nanos.unsigned_abs() / 1_000_000)
}

/// A secret for hashes and choices. In user or kernel context.
pub fn secret() -> Result<u64, c_int> {
    let mut bytes = [0_u8; 8];
    // SAFETY: fills as many bytes as there are.
    let filled = checked(unsafe { random_get_bytes(bytes.as_mut_ptr(), bytes.len()) });
    if filled.is_err() {
        // Early in boot there may be too little randomness for keys; what there is keeps guests
        // from knowing the hash all the same. SAFETY: as above.
        checked(unsafe { random_get_pseudo_bytes(bytes.as_mut_ptr(), bytes.len()) })?;
    }
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte::event::EVENTS;
    use std::vec::Vec;

    #[test]
    fn every_event_has_the_probe_that_its_table_names() {
        let named = EVENTS.iter().map(|event| event.probe.replace('-', "__"));
        let named: Vec<_> = named.map(|name| std::format!("__dtrace_probe_{name}")).collect();
        assert_eq!(NAMES, named);
    }
}
