// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The next hop to another host: which link, and the link addresses of both ends.
//!
//! The IP module knows routes and neighbours; asking it takes a microsecond or more. So its
//! answers, refusals too, are remembered for [`LIFE_MILLIS`] by destination and *way*, which stands
//! for a part of all flows, so that equal routes share them. The memory is fixed: what does not fit
//! takes the place of the oldest.

pub mod ip;

use crate::counters::Counter;
use crate::lock::Mutex;
use alloc::boxed::Box;
use core::net::Ipv6Addr;
use opte::host::{Lock, Moment};

/// How long an answer holds.
pub const LIFE_MILLIS: u64 = 100;
/// Ways to a destination.
pub const WAYS: u16 = 16;
const SETS: usize = 256;
const PLACES: usize = 4;

/// A next hop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Which link of the underlay.
    pub link: u8,
    /// Destination and source address, as they stand in the Ethernet header.
    pub macs: [u8; 12],
}

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Query {
    /// The other host.
    pub dst: Ipv6Addr,
    /// Below [`WAYS`].
    pub way: u8,
}

impl Query {
    /// The query of a packet, whose outer source port is the entropy of its flow.
    pub const fn new(dst: Ipv6Addr, source_port: u16) -> Self {
        Self { dst, way: (source_port % WAYS) as u8 }
    }

    fn set(&self) -> usize {
        let bits = self.dst.to_bits();
        let word = (bits >> 64) as u64 ^ bits as u64 ^ u64::from(self.way) << 56;
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SETS
    }
}

#[derive(Clone, Copy)]
struct Answer {
    query: Query,
    at: Moment,
    hop: Result<Hop, Counter>,
}

/// The next hop of a way, by a link that is up: if the way's own is down, that of another way,
/// which stands for an equal route if there is one. `ask` asks for the next hop of a way.
pub fn around(
    way: u8,
    is_up: impl Fn(u8) -> bool,
    ask: impl Fn(u8) -> Result<Hop, Counter>,
) -> Result<Hop, Counter> {
    let own = ask(way);
    if own.is_ok_and(|hop| is_up(hop.link)) {
        return own;
    }
    let others = (1..WAYS as u8).map(|step| (way + step) % WAYS as u8);
    let mut others = others.filter_map(|way| ask(way).ok());
    // Why there was none at first tells more than that there was none later.
    others.find(|hop| is_up(hop.link)).ok_or(own.err().unwrap_or(Counter::LinkDown))
}

/// Remembered answers.
pub struct Routes(Box<[Mutex<[Option<Answer>; PLACES]>]>);

impl Default for Routes {
    fn default() -> Self {
        Self((0..SETS).map(|_| Mutex::of([None; PLACES])).collect())
    }
}

impl Routes {
    /// The next hop. `look_up` is called without a lock held, by as many threads at a time as find
    /// no answer.
    pub fn hop(
        &self,
        query: Query,
        now: Moment,
        look_up: impl FnOnce() -> Result<Hop, Counter>,
    ) -> Result<Hop, Counter> {
        let Some(set) = self.0.get(query.set()) else { return look_up() };
        let known = set.with(|places| {
            let answers = places.iter().flatten();
            let mut fresh = answers.filter(|it| now.since(it.at) < LIFE_MILLIS);
            fresh.find(|it| it.query == query).map(|it| it.hop)
        });
        if let Some(hop) = known {
            return hop;
        }
        let hop = look_up();
        set.with(|places| {
            let same = places.iter().position(|it| it.is_some_and(|it| it.query == query));
            let oldest =
                || (0..PLACES).min_by_key(|at| places.get(*at).copied().flatten().map(|it| it.at));
            let place = same.or_else(oldest).and_then(|at| places.get_mut(at));
            if let Some(place) = place {
                *place = Some(Answer { query, at: now, hop });
            }
        });
        hop
    }

    /// Forgets all: the underlay is another one.
    pub fn forget(&self) {
        self.0.iter().for_each(|set| set.with(|places| *places = [None; PLACES]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    fn hop(link: u8) -> Hop {
        Hop { link, macs: [link; 12] }
    }

    #[test]
    fn answers_hold_for_a_while_refusals_too() {
        let routes = Routes::default();
        let asked = Cell::new(0);
        let ask = |port, millis, answer| {
            let query = Query::new(Ipv6Addr::LOCALHOST, port);
            routes.hop(query, Moment::from_millis(millis), || {
                asked.set(asked.get() + 1);
                answer
            })
        };
        assert_eq!(ask(1, 0, Ok(hop(1))), Ok(hop(1)));
        assert_eq!(ask(17, LIFE_MILLIS - 1, Ok(hop(2))), Ok(hop(1)));
        assert_eq!(ask(1, LIFE_MILLIS, Err(Counter::NoRoute)), Err(Counter::NoRoute));
        assert_eq!(ask(1, LIFE_MILLIS + 1, Ok(hop(2))), Err(Counter::NoRoute));
        assert_eq!(ask(2, LIFE_MILLIS, Ok(hop(2))), Ok(hop(2)));
        assert_eq!(asked.get(), 3);
        routes.forget();
        assert_eq!(ask(2, LIFE_MILLIS, Ok(hop(3))), Ok(hop(3)));
    }

    #[test]
    fn what_would_leave_by_a_link_that_is_down_takes_an_equal_route() {
        // Ways are equal routes by three links, in turn; a neighbour of the third is not known.
        let ask = |way| match way % 3 {
            2 => Err(Counter::NoNeighbour),
            link => Ok(hop(link)),
        };
        let down = |which: &'static [u8]| move |link: u8| !which.contains(&link);
        assert_eq!(around(1, down(&[]), ask), Ok(hop(1)));
        assert_eq!(around(1, down(&[1]), ask), Ok(hop(0)));
        assert_eq!(around(15, down(&[0]), ask), Ok(hop(1)));
        assert_eq!(around(1, down(&[0, 1]), ask), Err(Counter::LinkDown));
        assert_eq!(around(2, down(&[0]), ask), Ok(hop(1)));
        assert_eq!(around(2, down(&[0, 1]), ask), Err(Counter::NoNeighbour));
    }

    #[test]
    fn memory_is_fixed_and_every_answer_right() {
        let routes = Routes::default();
        for round in 0..2 {
            for host in 0..5000_u128 {
                let query = Query::new(Ipv6Addr::from(host), host as u16);
                let answer = routes.hop(query, Moment::from_millis(round), || Ok(hop(host as u8)));
                assert_eq!(answer, Ok(hop(host as u8)));
            }
        }
    }
}
