// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Maps and sets, filled one by one.
//!
//! `collect` sorts what goes into a map or set of the standard library first, by a sort that keeps
//! 4 KiB on the stack. A kernel's stack has 20 KiB, for all functions together that are under way.

/// Gathers what comes, without a large frame.
pub trait Gather: Iterator + Sized {
    /// All of it. Of two values with one key the later one stays, as with `collect`.
    fn gather<C: Default + Extend<Self::Item>>(self) -> C {
        let mut all = C::default();
        all.extend(self);
        all
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::{BTreeMap, BTreeSet};

    #[test]
    fn gathers_what_collect_would() {
        let pairs = [(3, 'a'), (1, 'b'), (3, 'c'), (2, 'd')];
        let collected: BTreeMap<_, _> = pairs.into_iter().collect();
        assert_eq!(pairs.into_iter().gather::<BTreeMap<_, _>>(), collected);
        assert_eq!([2, 1, 2].into_iter().gather::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
    }
}
