// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine's events as USDT probes (`.note.stapsdt`), for bpftrace and its like.
//!
//! Each probe has one argument: the address of the event's structure, as `dtrace/lib` declares it.
//! While nobody watches, a probe is one test of a counter that the tracer would have raised; the
//! event is not made.
#![allow(clippy::undocumented_unsafe_blocks)] // Only in what `usdt` writes: it reads a static of its own.

use opte::event::Traced;
use std::hint::black_box;

/// Two names are equal.
const fn is(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Declares the probes, and the function that fires the one of an event.
macro_rules! probes {
    ($($probe:ident $name:literal)*) => {
        #[usdt::provider(provider = "opte")]
        mod opte_probes {
            $(fn $probe(_event: u64) {})*
        }

        /// Names of all probes.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];

        /// Fires the event's probe, if somebody watches it.
        #[inline]
        pub fn fire<E: Traced>(event: impl FnOnce() -> E) {
            // The tracer reads the event from memory while the probe fires.
            let mut made: Option<E> = None;
            $(
                if const { is(E::SHAPE.probe, $name) } {
                    opte_probes::$probe!(|| black_box(&raw const *made.insert(event())) as u64);
                    return;
                }
            )*
        }
    };
}

probes! {
    dropped "dropped"
    rule__matched "rule-matched"
    stamped "stamped"
    flow__opened "flow-opened"
    flow__ended "flow-ended"
    exhausted "exhausted"
    tcp__state "tcp-state"
    next__hop "next-hop"
    published "published"
    decide__begin "decide-begin"
    decide__end "decide-end"
    batch__begin "batch-begin"
    batch__end "batch-end"
    control__begin "control-begin"
    control__end "control-end"
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte::event::EVENTS;

    #[test]
    fn what_nobody_watches_is_not_made() {
        let made = std::cell::Cell::new(false);
        fire(|| {
            made.set(true);
            opte::event::Published { generation: 1, port: 0 }
        });
        assert!(!made.get(), "no tracer is attached to this test");
    }

    #[test]
    fn each_event_has_its_probe() {
        assert_eq!(EVENTS.iter().map(|event| event.probe).collect::<Vec<_>>(), NAMES);
    }
}
