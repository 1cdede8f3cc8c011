// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is known of packets of which fragments have come: fixed in number and size.

use super::Fragment;
use crate::drop_reason::DropReason;
use crate::flow_key::FlowKey;
use crate::geneve::Mark;
use crate::host::Moment;
use crate::slot::Stored;
use alloc::vec::Vec;

/// Packets of which fragments are known at once, for each direction of a port.
pub const TRAINS: usize = 128;
/// Fragments of one packet: more than the longest packet has on a link of IPv6's least MTU.
pub const PIECES: usize = 64;
/// How long a packet is known after its first fragment to come, in milliseconds. RFC 8200,
/// section 4.5, gives a receiver 60 s; nobody keeps fragments apart for longer than 30.
pub const LIFE_MS: u64 = 30_000;
/// Bytes of fragments that wait for a first one, for each direction of a port.
pub const HELD_BYTES: usize = 128 << 10;

/// What is done with later fragments of a packet whose first has passed.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// What was done with the first, without what concerns its transport header.
    pub stored: Stored,
    /// The key of the first fragment, with its ports.
    pub key: FlowKey,
    /// The identification under which it has left, if that is another one.
    pub id: Option<u16>,
}

/// A fragment that waits for the first.
pub(crate) struct Held {
    pub bytes: Vec<u8>,
    pub id: u32,
    /// Where its inner Ethernet header begins.
    pub ether: u16,
    pub mark: Mark,
    pub ecn: u8,
}

/// A packet of which fragments have come.
struct Train {
    /// Addresses and protocol, without ports.
    key: FlowKey,
    id: u32,
    since: Moment,
    /// Beginning and end of each part that has come.
    pieces: Vec<(u32, u32)>,
    /// Length of the whole, once the last part has come.
    end: Option<u32>,
    way: Option<Way>,
    held: Vec<Held>,
    /// Parts overlapped: nothing of it passes any more.
    spoilt: bool,
}

/// What is to be done with a fragment.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is the first, or follows the first that has gone this way.
    Go(Option<Way>),
    /// It is to wait.
    Wait,
}

/// The packets of one direction.
#[derive(Default)]
pub(crate) struct Table {
    trains: Vec<Train>,
    held_bytes: usize,
    /// Packets that were given up for want of room.
    pub evicted: u64,
}

impl Table {
    /// Enters a fragment of `len` data bytes.
    pub fn enter(
        &mut self,
        key: FlowKey,
        fragment: Fragment,
        len: usize,
        now: Moment,
    ) -> Result<Found, DropReason> {
        self.forget_old(now);
        let at = self.place(key, fragment.id, now);
        let train = self.trains.get_mut(at).ok_or(DropReason::FragmentLimit)?;
        let start = u32::from(fragment.offset);
        train.add((start, start + len as u32), fragment.more)?;
        if fragment.is_first() {
            return Ok(Found::Go(None));
        }
        match &train.way {
            Some(way) => Ok(Found::Go(Some(way.clone()))),
            None => Ok(Found::Wait),
        }
    }

    /// Keeps a fragment that waits, if there is room.
    pub fn hold(&mut self, key: FlowKey, held: Held) -> Result<(), DropReason> {
        if self.held_bytes + held.bytes.len() > HELD_BYTES {
            return Err(DropReason::FragmentLimit);
        }
        let train = self.trains.iter_mut().find(|train| train.is(&key, held.id));
        let train = train.ok_or(DropReason::FragmentLimit)?;
        self.held_bytes += held.bytes.len();
        train.held.push(held);
        Ok(())
    }

    /// The first fragment has passed this way; answers those that have waited for it.
    pub fn passed(&mut self, key: FlowKey, id: u32, way: Way) -> Vec<Held> {
        let Some(train) = self.trains.iter_mut().find(|train| train.is(&key, id)) else {
            return Vec::new();
        };
        train.way = Some(way);
        let held = core::mem::take(&mut train.held);
        self.held_bytes -= held.iter().map(|held| held.bytes.len()).sum::<usize>();
        held
    }

    /// All of the packet has come and gone, or nothing of it is to pass.
    pub fn done(&mut self, key: FlowKey, id: u32) {
        if let Some(at) = self.trains.iter().position(|t| t.is(&key, id) && t.is_complete()) {
            self.remove(at);
        }
    }

    /// The first fragment did not pass: nor do others.
    pub fn refused(&mut self, key: FlowKey, id: u32) {
        if let Some(train) = self.trains.iter_mut().find(|train| train.is(&key, id)) {
            train.spoilt = true;
            let held = core::mem::take(&mut train.held);
            self.held_bytes -= held.iter().map(|held| held.bytes.len()).sum::<usize>();
        }
    }

    /// Packets that are known.
    pub fn len(&self) -> usize {
        self.trains.len()
    }

    /// Bytes that wait.
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    fn place(&mut self, key: FlowKey, id: u32, now: Moment) -> usize {
        if let Some(at) = self.trains.iter().position(|train| train.is(&key, id)) {
            return at;
        }
        if self.trains.len() >= TRAINS {
            let oldest = self.trains.iter().enumerate().min_by_key(|(_, train)| train.since);
            if let Some((at, _)) = oldest {
                self.remove(at);
                self.evicted += 1;
            }
        }
        self.trains.push(Train {
            key,
            id,
            since: now,
            pieces: Vec::new(),
            end: None,
            way: None,
            held: Vec::new(),
            spoilt: false,
        });
        self.trains.len() - 1
    }

    fn forget_old(&mut self, now: Moment) {
        let old = |train: &Train| now.since(train.since) >= LIFE_MS;
        while let Some(at) = self.trains.iter().position(old) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        let train = self.trains.swap_remove(at);
        self.held_bytes -= train.held.iter().map(|held| held.bytes.len()).sum::<usize>();
    }
}

impl Train {
    fn is(&self, key: &FlowKey, id: u32) -> bool {
        self.id == id && self.key == *key
    }

    /// Adds a part. Lengths that contradict one another count as overlap.
    fn add(&mut self, piece: (u32, u32), more: bool) -> Result<(), DropReason> {
        if self.spoilt {
            return Err(DropReason::Fragment);
        }
        let (start, end) = piece;
        // RFC 791, section 3.2; RFC 8200, section 4.5.
        if end > u32::from(u16::MAX) || (more && (end - start) % 8 != 0) || start == end {
            return Err(DropReason::FragmentMalformed);
        }
        if self.pieces.contains(&piece) {
            // The network may bring a fragment twice.
            return Err(DropReason::FragmentOverlap);
        }
        let beyond = |known_end: u32| if more { end >= known_end } else { end != known_end };
        let overlaps = self.pieces.iter().any(|&(a, b)| start < b && a < end)
            || self.end.is_some_and(beyond)
            || (!more && self.pieces.iter().any(|&(_, b)| b > end));
        if overlaps {
            self.spoilt = true;
            return Err(DropReason::FragmentOverlap);
        }
        if self.pieces.len() >= PIECES {
            return Err(DropReason::FragmentLimit);
        }
        self.pieces.push(piece);
        if !more {
            self.end = Some(end);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let whole: u32 = self.pieces.iter().map(|(start, end)| end - start).sum();
        self.held.is_empty() && self.end == Some(whole)
    }
}
