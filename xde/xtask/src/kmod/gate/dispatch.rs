// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Whom a call through a table of methods or a pointer cannot reach, because types forbid it.
//!
//! A call says the place in a table, not which table. That all tables have the same places would
//! make long chains out of nothing, so here is what the sources say about who calls what. All that
//! is not named may be called by everybody.

/// Methods and functions by a part of their names, and parts of the names of those who call them.
const CALLERS: &[(&str, &[&str])] = &[
    // Actions of rules are taken by walks, and described for people.
    (" as opte::rule::", &["<opte::walk::Walk>", "<opte::rule::Action>"]),
    // Devices are made and removed by requests.
    (" as xde::host::Platform>", &["xde::"]),
    // Replies of the gateway are made by its rules, maps and holders by the reservation space.
    ("oxide_vpc::services::", &["oxide_vpc::gateway::"]),
    (
        "oxide_vpc::gateway::",
        &["oxide_vpc::gateway::", "<opte::walk::Walk>", "<opte::rule::Action>"],
    ),
    ("opte::nat::ports::PortMap>::new", &["opte::nat::"]),
    ("opte::nat::holder::Holder>::new", &["opte::nat::"]),
    // Trees look after their own parts.
    ("rpds::", &["rpds::", "xde::", "oxide_vpc::"]),
    ("triomphe::", &["rpds::"]),
    // The kernel alone calls its entry points.
    ("xde_illumos::device::", &[]),
    ("xde_illumos::guest::callbacks::", &[]),
    ("xde_illumos::module::", &[]),
    ("xde_illumos::statistics::", &[]),
    ("xde_illumos::underlay::receive::", &[]),
];
/// A lock that hides which host's it is, and what runs under it.
const LOCKED: &str = "opte::nat::lock::AnyLock<";
const LOCK: &str = "as opte::nat::lock::Guard<";

/// Whether `caller` may reach `target` other than by name.
pub fn may_call(caller: &str, target: &str) -> bool {
    let rules = CALLERS.iter().filter(|(part, _)| target.contains(part));
    let mut rules = rules.map(|(_, callers)| callers);
    formats(caller) == formats(target)
        && rules.all(|callers| callers.iter().any(|part| caller.contains(part)))
        && locks_allow(caller, target)
}

/// Functions that turn values into text call each other, and nobody else's methods.
fn formats(name: &str) -> bool {
    name.contains("fmt")
}

/// What is locked runs what is given to its own lock; and who holds a lock does not take it again.
fn locks_allow(caller: &str, target: &str) -> bool {
    let of = |name: &str, what: &str| {
        let (_, rest) = name.split_once(what)?;
        rest.split_once('>').map(|(kind, _)| kind.to_owned())
    };
    match (of(target, LOCKED), of(target, LOCK)) {
        (Some(given), _) => of(caller, LOCK).is_some_and(|locked| locked == given),
        (None, Some(taken)) => {
            of(caller, LOCKED).is_none_or(|held| held != taken) && of(caller, LOCK).is_none()
        }
        (None, None) => of(caller, LOCK).is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALK: &str = "<opte::walk::Walk>::step";
    const ACT: &str = "<oxide_vpc::overlay::Encapsulate as opte::rule::Act>::act";
    const GUARD: &str = "<opte::nat::lock::HostGuard<H, S> as opte::nat::lock::Guard<S>>::run";
    const UNDER: &str = "<opte::nat::lock::AnyLock<S>>::with::<(), tidy>::{closure#0}";

    #[test]
    fn what_the_sources_forbid_is_not_reached() {
        assert!(may_call(WALK, ACT) && may_call("<opte::rule::Action>::describe", ACT));
        assert!(!may_call("<opte::nat::ports::PortMap>::take", ACT));
        assert!(!may_call(WALK, "xde_illumos::device::ioctl"));
        assert!(may_call("core::fmt::write", "<bool as core::fmt::Display>::fmt"));
        assert!(!may_call(WALK, "<bool as core::fmt::Display>::fmt"));
        assert!(may_call(WALK, "something::unheard::of"));
    }

    #[test]
    fn a_lock_runs_what_it_is_given_and_is_taken_once() {
        assert!(may_call(GUARD, UNDER) && may_call("<opte::nat::ports::PortMap>::take", GUARD));
        assert!(!may_call(WALK, UNDER) && !may_call(GUARD, ACT));
        assert!(!may_call(UNDER, GUARD) && !may_call(GUARD, GUARD));
        let other = GUARD.replace("S>", "T>");
        assert!(may_call(UNDER, &other) && !may_call(&other, UNDER));
    }
}
