// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the MAC layer asks of a link in numbers.

use illumos_sys_hdrs::sys::mac::{
    MAC_STAT_IERRORS, MAC_STAT_IFSPEED, MAC_STAT_IPACKETS, MAC_STAT_OBYTES, MAC_STAT_OPACKETS,
    MAC_STAT_RBYTES,
};
use opte::counters::Counters;
use opte::drop_reason::DropReason;
use opte_api::Direction;

/// Speed that the link claims, in bits per second: that of a fast device, which gets rings
/// accordingly.
const SPEED: u64 = 10_000_000_000;

/// A statistic of a link whose port has these counters; `None` for those that no link of ours has.
/// What is *in* for a port is what its guest gets, hence received.
pub fn number(statistic: u32, counters: Option<&Counters>) -> Option<u64> {
    let side = |direction| counters.map(|it| it.side(direction)).unwrap_or_default();
    Some(match statistic {
        MAC_STAT_IFSPEED => SPEED,
        MAC_STAT_IPACKETS => side(Direction::In).packets,
        MAC_STAT_RBYTES => side(Direction::In).bytes,
        MAC_STAT_OPACKETS => side(Direction::Out).packets,
        MAC_STAT_OBYTES => side(Direction::Out).bytes,
        MAC_STAT_IERRORS => counters.map_or(0, |counters| {
            DropReason::ALL.iter().map(|reason| counters.drops(Direction::In, *reason)).sum()
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte::counters::Tally;

    #[test]
    fn what_the_guest_gets_was_received() {
        let counters = Counters::default();
        let mut tally = Tally::default();
        (tally.side(Direction::In).packets, tally.side(Direction::In).bytes) = (3, 300);
        (tally.side(Direction::Out).packets, tally.side(Direction::Out).bytes) = (5, 500);
        counters.add(&tally);
        counters.dropped(Direction::In, DropReason::NoPort);
        counters.dropped(Direction::In, DropReason::Truncated);
        let of = |statistic| number(statistic, Some(&counters));
        assert_eq!((of(MAC_STAT_IPACKETS), of(MAC_STAT_RBYTES)), (Some(3), Some(300)));
        assert_eq!((of(MAC_STAT_OPACKETS), of(MAC_STAT_OBYTES)), (Some(5), Some(500)));
        assert_eq!((of(MAC_STAT_IERRORS), of(1)), (Some(2), None));
        assert_eq!(number(MAC_STAT_IPACKETS, None), Some(0));
    }
}
