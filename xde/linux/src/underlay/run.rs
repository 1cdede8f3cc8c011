// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which datagrams leave together: runs of equal ones to one host, in one send each.

use crate::outbox::Datagram;

/// Datagrams in one send. Linux takes 128 since 6.9, before that 64.
const MAX_DATAGRAMS: usize = 64;
/// Bytes in one send, below what fits in one IPv6 packet with its headers.
const MAX_BYTES: usize = 65_400;

/// A run: datagrams of equal length, the last may be shorter, that agree in all but their bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// Datagrams in it.
    pub count: usize,
    /// Length of each but the last.
    pub size: usize,
    /// Bytes in all.
    pub bytes: usize,
    closed: bool,
}

impl Run {
    /// The run of one.
    pub fn of(first: &Datagram) -> Self {
        Self { count: 1, size: first.len, bytes: first.len, closed: false }
    }

    /// Appends `next`, which comes after `first` and the rest of the run, if it belongs there.
    pub fn take(&mut self, first: &Datagram, next: &Datagram) -> bool {
        let fits = !self.closed
            && self.count < MAX_DATAGRAMS
            && next.len <= self.size
            && self.bytes + next.len <= MAX_BYTES
            && next.len > 0
            && (next.src, next.dst) == (first.src, first.dst)
            && next.traffic_class == first.traffic_class;
        if fits {
            self.count += 1;
            self.bytes += next.len;
            self.closed = next.len < self.size;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::outbox::{Outbox, samples};
    use crate::packet::Pool;

    /// Lengths of the runs that frames of these (destination, length) make.
    fn runs(frames: &[(u16, usize)]) -> Vec<usize> {
        let (pool, mut outbox) = (Pool::default(), Outbox::default());
        for (dst, len) in frames {
            let packet = pool.packet_of(&vec![0; *len]);
            outbox.put(packet, &samples::rewrite(*dst, 7), &Counters::default());
        }
        let mut rest = outbox.datagrams();
        let mut runs = Vec::new();
        while let [first, others @ ..] = rest {
            let mut run = Run::of(first);
            let taken = others.iter().take_while(|next| run.take(first, next)).count();
            assert_eq!(taken + 1, run.count);
            runs.push(run.count);
            rest = &rest[run.count..];
        }
        runs
    }

    #[test]
    fn equal_neighbours_leave_together() {
        assert_eq!(runs(&[(2, 60), (2, 60), (2, 60)]), [3]);
        assert_eq!(runs(&[(2, 60), (2, 40), (2, 40)]), [2, 1], "a shorter one is the last");
        assert_eq!(runs(&[(2, 40), (2, 60)]), [1, 1], "a longer one is the next");
        assert_eq!(runs(&[(2, 60), (3, 60), (2, 60)]), [1, 1, 1], "other destinations");
        assert_eq!(runs(&[(2, 60); 70]), [64, 6]);
        assert_eq!(runs(&[(2, 9000); 8]), [7, 1]);
    }
}
