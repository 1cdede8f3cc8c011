// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The NAT table: whose is an external address and port?
//!
//! Entries never overlap and are at most [`MAX_ENTRIES`], so a look-up finds one or none, by one
//! descent of an ordered map: the entry of the address with the greatest first port that is not
//! above the port asked for.

use super::counters::BoundaryDrop;
use super::packet::{Selector, Tuple};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte_api::OpteError;
use oxide_vpc_api::BoundaryNat;
use oxide_vpc_api::request::Removal;

/// Most entries of a table.
pub const MAX_ENTRIES: usize = 1 << 18;

/// The entries of a boundary.
#[derive(Debug, Default)]
pub struct NatTable(BTreeMap<(IpAddr, u16), BoundaryNat>);

impl NatTable {
    /// Adds an entry; it must not share a tuple with another.
    pub fn insert(&mut self, entry: BoundaryNat) -> Result<(), OpteError> {
        entry.validate()?;
        if let Some(other) = self.at_or_below(entry.ip, entry.last_port)
            && other.overlaps(&entry)
        {
            return Err(OpteError::exists("boundary entry", describe(other)));
        }
        if self.0.len() >= MAX_ENTRIES {
            let limit = MAX_ENTRIES as u64;
            return Err(OpteError::Limit { what: "entries of the boundary table".into(), limit });
        }
        self.0.insert((entry.ip, entry.first_port), entry);
        Ok(())
    }

    /// Removes an entry if all of it agrees.
    pub fn remove(&mut self, entry: &BoundaryNat) -> Removal {
        let key = (entry.ip, entry.first_port);
        if self.0.get(&key) != Some(entry) {
            return Removal::Absent;
        }
        self.0.remove(&key);
        Removal::Removed
    }

    /// All entries, by address and port.
    pub fn list(&self) -> Vec<BoundaryNat> {
        self.0.values().copied().collect()
    }

    /// Some entry has this address.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.at_or_below(ip, u16::MAX).is_some()
    }

    /// The entry that takes packets of `tuple`, or why none does.
    pub(super) fn find(&self, tuple: &Tuple) -> Result<BoundaryNat, BoundaryDrop> {
        let (port, missing) = match tuple.selector {
            Selector::Port(port) => (port, BoundaryDrop::NoEntry),
            Selector::LaterFragment => (0, BoundaryDrop::Fragment),
            Selector::NoPort => (0, BoundaryDrop::NoPorts),
        };
        let takes = |entry: &&BoundaryNat| match tuple.selector {
            Selector::Port(port) => port <= entry.last_port,
            Selector::LaterFragment | Selector::NoPort => entry.last_port == u16::MAX,
        };
        self.at_or_below(tuple.ip, port).filter(takes).copied().ok_or(missing)
    }

    fn at_or_below(&self, ip: IpAddr, port: u16) -> Option<&BoundaryNat> {
        self.0.range((ip, 0)..=(ip, port)).next_back().map(|(_, entry)| entry)
    }
}

fn describe(entry: &BoundaryNat) -> alloc::string::String {
    let BoundaryNat { ip, first_port, last_port, underlay_ip, vni, mac } = entry;
    format!("{ip} ports {first_port}-{last_port} at {underlay_ip}, VNI {vni}, {mac}")
}

#[cfg(test)]
mod tests {
    use super::super::scenario::entry;
    use super::*;
    use alloc::string::ToString;

    fn tuple(ip: &str, selector: Selector) -> Tuple {
        Tuple { ip: ip.parse().unwrap(), selector }
    }

    #[test]
    fn overlaps_are_refused_and_name_the_other() {
        let mut table = NatTable::default();
        table.insert(entry("192.0.2.1", 1024, 2047)).unwrap();
        table.insert(entry("192.0.2.1", 4096, 8191)).unwrap();
        for (first, last, free) in [
            (0, 1023, true),
            (0, 1024, false),
            (1024, 2047, false),
            (1500, 1500, false),
            (2047, 3000, false),
            (2048, 4095, true),
            (0, 65535, false),
            (3000, 9000, false),
            (8191, 65535, false),
            (8192, 65535, true),
        ] {
            let new = entry("192.0.2.1", first, last);
            let done = table.insert(new);
            assert_eq!(done.is_ok(), free, "{first}-{last}");
            match done {
                Ok(()) => assert_eq!(table.remove(&new), Removal::Removed),
                Err(why) => assert!(why.to_string().contains("192.0.2.1 ports "), "{why}"),
            }
        }
        table.insert(entry("192.0.2.2", 0, 65535)).unwrap();
        assert_eq!(table.list().len(), 3);
    }

    #[test]
    fn only_the_whole_entry_is_removed() {
        let mut table = NatTable::default();
        let old = entry("2001:db8::1", 0, 65535);
        table.insert(old).unwrap();
        for other in [
            BoundaryNat { last_port: 7, ..old },
            BoundaryNat { first_port: 1, ..old },
            BoundaryNat { underlay_ip: "fd00::9".parse().unwrap(), ..old },
        ] {
            assert_eq!(table.remove(&other), Removal::Absent);
        }
        assert!(table.has(old.ip));
        assert_eq!(table.remove(&old), Removal::Removed);
        assert!(!table.has(old.ip));
    }

    #[test]
    fn protocols_without_ports_want_all_of_the_address() {
        let mut table = NatTable::default();
        table.insert(entry("192.0.2.1", 0, 65535)).unwrap();
        table.insert(entry("192.0.2.2", 0, 1023)).unwrap();
        table.insert(entry("192.0.2.2", 1024, 65535)).unwrap();
        for (ip, selector, expected) in [
            ("192.0.2.1", Selector::Port(65535), Ok(0)),
            ("192.0.2.1", Selector::NoPort, Ok(0)),
            ("192.0.2.1", Selector::LaterFragment, Ok(0)),
            ("192.0.2.2", Selector::Port(1024), Ok(1024)),
            ("192.0.2.2", Selector::NoPort, Err(BoundaryDrop::NoPorts)),
            ("192.0.2.2", Selector::LaterFragment, Err(BoundaryDrop::Fragment)),
            ("192.0.2.3", Selector::Port(1), Err(BoundaryDrop::NoEntry)),
        ] {
            let found = table.find(&tuple(ip, selector)).map(|entry| entry.first_port);
            assert_eq!(found, expected, "{ip} {selector:?}");
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = NatTable::default();
        let single = |number: usize| {
            let [_, _, third, last] = (number as u32 >> 16).to_be_bytes();
            let ip = core::net::Ipv4Addr::new(192, 0, third, last).into();
            let port = number as u16;
            BoundaryNat { ip, ..entry("192.0.2.1", port, port) }
        };
        (0..MAX_ENTRIES).for_each(|number| table.insert(single(number)).unwrap());
        let one_more = single(MAX_ENTRIES);
        assert!(matches!(table.insert(one_more), Err(OpteError::Limit { .. })));
        assert_eq!(table.remove(&single(7)), Removal::Removed);
        table.insert(one_more).unwrap();
    }

    #[test]
    fn agrees_with_a_linear_search() {
        let mut table = NatTable::default();
        for first in (0u16..60000).step_by(97) {
            table.insert(entry("192.0.2.1", first, first + first % 97)).unwrap();
        }
        let list = table.list();
        for port in 0..=u16::MAX {
            let naive = list.iter().find(|e| (e.first_port..=e.last_port).contains(&port)).copied();
            let found = table.find(&tuple("192.0.2.1", Selector::Port(port))).ok();
            assert_eq!(found, naive, "{port}");
        }
    }
}
