// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How many packets to ask for in one call.
//!
//! A call that can take many has more to prepare, which is noticed where packets come one by one.

/// How many to ask for next.
#[derive(Clone, Copy, Debug)]
pub struct Appetite {
    few: usize,
    many: usize,
    now: usize,
}

impl Appetite {
    /// Asks for `few` until these have come at once, then for `many` while more than `few` come.
    pub fn new(few: usize, many: usize) -> Self {
        Self { few, many, now: few }
    }

    /// How many to ask for now.
    pub fn now(&self) -> usize {
        self.now
    }

    /// So many have come; answers whether there may be more.
    pub fn got(&mut self, count: usize) -> bool {
        let all = count >= self.now;
        self.now = if count >= self.few { self.many } else { self.few };
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_what_comes() {
        let mut appetite = Appetite::new(4, 32);
        let steps = [(1, false, 4), (4, true, 32), (32, true, 32), (5, false, 32), (3, false, 4)];
        for (count, more, next) in steps {
            assert_eq!((appetite.got(count), appetite.now()), (more, next));
        }
    }
}
