// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where things live on the underlay: one immutable snapshot for all ports of a host.
//!
//! The maps share what a change does not touch, so making the next snapshot costs the change
//! alone, however many entries there are.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::ops::Bound;
use opte::geneve::{Mark, Sender};
use opte::prefix_map::PrefixMap;
use opte_api::{IpCidr, OpteError, Vni};
use oxide_vpc_api::multicast::{M2pEntry, MAX_GROUPS, is_underlay_group};
use oxide_vpc_api::request::Removal;
use oxide_vpc_api::{BoundaryEndpoint, GuestLocation, V2bEntry, V2pEntry};
use rpds::RedBlackTreeMapSync;

/// Most guests that a host knows.
pub const MAX_V2P: usize = 1 << 20;
/// Most prefixes with ways out.
pub const MAX_V2B: usize = 1 << 17;
/// Most endpoints of one prefix.
pub const MAX_ENDPOINTS: usize = 64;

/// The mappings of a host.
#[derive(Clone, Default)]
pub struct Mappings {
    guests: RedBlackTreeMapSync<(Vni, IpAddr), GuestLocation>,
    boundary: PrefixMap<Vec<BoundaryEndpoint>>,
    groups: RedBlackTreeMapSync<IpAddr, Ipv6Addr>,
    /// In how many entries a host is: as one with guests of a network, or as a way out (`None`).
    senders: RedBlackTreeMapSync<(Option<Vni>, Sender), u32>,
}

impl Mappings {
    /// Where a guest is.
    pub fn guest(&self, vni: Vni, ip: IpAddr) -> Option<&GuestLocation> {
        self.guests.get(&(vni, ip))
    }

    /// The ways out towards `dst`: those of the longest prefix that holds it.
    pub fn boundary(&self, dst: IpAddr) -> Option<&[BoundaryEndpoint]> {
        self.boundary.longest(dst).map(Vec::as_slice)
    }

    /// What has this mark comes from where it may: from a host with guests of that network, if not
    /// from outside; else from one that is a way out. On this host nobody asks.
    pub fn knows_sender(&self, mark: Mark) -> bool {
        let known = |sender| self.senders.contains_key(&(mark.sender_vni(), sender));
        mark.sender().is_none_or(known)
    }

    fn count_sender(&mut self, vni: Option<Vni>, ip: Ipv6Addr) {
        let key = (vni, Sender::new(ip));
        let count = self.senders.get(&key).copied().unwrap_or_default();
        self.senders.insert_mut(key, count.saturating_add(1));
    }

    fn discount_sender(&mut self, vni: Option<Vni>, ip: Ipv6Addr) {
        let key = (vni, Sender::new(ip));
        match self.senders.get(&key).copied() {
            Some(count @ 2..) => self.senders.insert_mut(key, count - 1),
            _ => drop(self.senders.remove_mut(&key)),
        }
    }

    /// The guest is known to be there already.
    pub fn knows_guest(&self, entry: &V2pEntry) -> bool {
        self.guest(entry.vni, entry.ip) == Some(&entry.location)
    }

    /// These ways out towards that prefix are known already.
    pub fn knows_boundary(&self, entry: &V2bEntry) -> bool {
        let known = self.boundary.get(entry.prefix).map(Vec::as_slice).unwrap_or_default();
        entry.endpoints.iter().all(|endpoint| known.contains(endpoint))
    }

    /// The group is known to be carried so already.
    pub fn knows_group(&self, entry: &M2pEntry) -> bool {
        self.groups.get(&entry.group) == Some(&entry.underlay)
    }

    /// The underlay group that carries a group. Groups of the underlay carry themselves.
    pub fn group(&self, group: IpAddr) -> Option<Ipv6Addr> {
        let own = || match group {
            IpAddr::V6(ip) if is_underlay_group(ip) => Some(ip),
            _ => None,
        };
        self.groups.get(&group).copied().or_else(own)
    }

    /// These mappings, and which underlay group carries a group.
    pub fn with_group(&self, entry: &M2pEntry) -> Result<Self, OpteError> {
        entry.validate()?;
        if self.groups.size() >= MAX_GROUPS && !self.groups.contains_key(&entry.group) {
            return Err(OpteError::Limit { what: "m2p mappings".into(), limit: MAX_GROUPS as u64 });
        }
        Ok(Self { groups: self.groups.insert(entry.group, entry.underlay), ..self.clone() })
    }

    /// These mappings without that of a group, if it is as given.
    pub fn without_group(&self, entry: &M2pEntry) -> (Self, Removal) {
        if self.groups.get(&entry.group) != Some(&entry.underlay) {
            return (self.clone(), Removal::Absent);
        }
        (Self { groups: self.groups.remove(&entry.group), ..self.clone() }, Removal::Removed)
    }

    /// All mapped groups in order.
    pub fn groups(&self) -> impl Iterator<Item = M2pEntry> {
        self.groups.iter().map(|(group, underlay)| M2pEntry { group: *group, underlay: *underlay })
    }

    /// These mappings, and where a guest is.
    pub fn with_guest(&self, entry: &V2pEntry) -> Result<Self, OpteError> {
        if entry.ip.is_multicast() || entry.location.mac.is_multicast() {
            return Err(OpteError::invalid("mapping", "a guest has unicast addresses"));
        }
        let key = (entry.vni, entry.ip);
        if self.guests.size() >= MAX_V2P && !self.guests.contains_key(&key) {
            return Err(OpteError::Limit { what: "v2p mappings".into(), limit: MAX_V2P as u64 });
        }
        let mut next = self.clone();
        if let Some(old) = self.guests.get(&key) {
            next.discount_sender(Some(entry.vni), old.underlay_ip);
        }
        next.count_sender(Some(entry.vni), entry.location.underlay_ip);
        next.guests.insert_mut(key, entry.location);
        Ok(next)
    }

    /// These mappings without that of a guest, if it is as given.
    pub fn without_guest(&self, entry: &V2pEntry) -> (Self, Removal) {
        let key = (entry.vni, entry.ip);
        if self.guests.get(&key) != Some(&entry.location) {
            return (self.clone(), Removal::Absent);
        }
        let mut next = self.clone();
        next.discount_sender(Some(entry.vni), entry.location.underlay_ip);
        next.guests.remove_mut(&key);
        (next, Removal::Removed)
    }

    /// Guests in order: all, or those behind one that need not be there.
    pub fn guests_after(&self, after: Option<(Vni, IpAddr)>) -> impl Iterator<Item = V2pEntry> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.guests.range(behind).map(|((vni, ip), location)| V2pEntry {
            vni: *vni,
            ip: *ip,
            location: *location,
        })
    }

    /// These mappings with more ways out towards a prefix.
    pub fn with_boundary(&self, entry: &V2bEntry) -> Result<Self, OpteError> {
        if entry.endpoints.is_empty() {
            return Err(OpteError::invalid("boundary mapping", "name at least one endpoint"));
        }
        if entry.prefix.is_multicast() {
            return Err(OpteError::invalid("boundary mapping", "multicast does not leave so"));
        }
        let known = self.boundary.get(entry.prefix);
        if known.is_none() && self.boundary.len() >= MAX_V2B {
            return Err(OpteError::Limit { what: "v2b prefixes".into(), limit: MAX_V2B as u64 });
        }
        let mut endpoints = known.cloned().unwrap_or_default();
        endpoints.extend(&entry.endpoints);
        endpoints.sort_unstable();
        endpoints.dedup();
        if endpoints.len() > MAX_ENDPOINTS {
            let what = "endpoints of one prefix".into();
            return Err(OpteError::Limit { what, limit: MAX_ENDPOINTS as u64 });
        }
        Ok(self.with_endpoints(entry.prefix, endpoints))
    }

    /// These mappings without some ways out towards a prefix.
    pub fn without_boundary(&self, entry: &V2bEntry) -> (Self, Removal) {
        let Some(known) = self.boundary.get(entry.prefix) else {
            return (self.clone(), Removal::Absent);
        };
        let left: Vec<_> =
            known.iter().filter(|endpoint| !entry.endpoints.contains(endpoint)).copied().collect();
        if left.len() == known.len() {
            return (self.clone(), Removal::Absent);
        }
        (self.with_endpoints(entry.prefix, left), Removal::Removed)
    }

    fn with_endpoints(&self, prefix: IpCidr, endpoints: Vec<BoundaryEndpoint>) -> Self {
        let mut next = self.clone();
        for old in self.boundary.get(prefix).into_iter().flatten() {
            next.discount_sender(None, old.underlay_ip);
        }
        endpoints.iter().for_each(|new| next.count_sender(None, new.underlay_ip));
        if endpoints.is_empty() {
            next.boundary.remove(prefix);
        } else {
            next.boundary.insert(prefix, endpoints);
        }
        next
    }

    /// Prefixes in order: all, or those behind one that need not be there.
    pub fn boundaries_after(&self, after: Option<IpCidr>) -> impl Iterator<Item = V2bEntry> {
        let behind = |prefix| after.is_none_or(|after| prefix > after);
        let mut entries: Vec<_> =
            self.boundary.iter().filter(|(prefix, _)| behind(*prefix)).collect();
        entries.sort_unstable_by_key(|(prefix, _)| *prefix);
        entries
            .into_iter()
            .map(|(prefix, endpoints)| V2bEntry { prefix, endpoints: endpoints.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: &str, endpoints: &[u16]) -> V2bEntry {
        let endpoint = |last: &u16| BoundaryEndpoint {
            underlay_ip: core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, *last),
            vni: Vni::new(99).unwrap(),
        };
        V2bEntry {
            prefix: prefix.parse().unwrap(),
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }

    #[test]
    fn longest_prefix_and_removal() {
        let mut maps = Mappings::default();
        for (prefix, last) in [("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.1.0.0/16", 3), ("::/0", 4)]
        {
            maps = maps.with_boundary(&entry(prefix, &[last])).unwrap();
        }
        let last = |maps: &Mappings, dst: &str| {
            maps.boundary(dst.parse().unwrap()).map(|found| found[0].underlay_ip.octets()[15])
        };
        assert_eq!(last(&maps, "10.1.2.3"), Some(3));
        assert_eq!(last(&maps, "10.2.2.3"), Some(2));
        assert_eq!(last(&maps, "9.9.9.9"), Some(1));
        assert_eq!(last(&maps, "2001:db8::1"), Some(4));
        let (maps, removal) = maps.without_boundary(&entry("10.1.0.0/16", &[3]));
        assert_eq!((last(&maps, "10.1.2.3"), removal), (Some(2), Removal::Removed));
        let (_, removal) = maps.without_boundary(&entry("10.1.0.0/16", &[3]));
        assert_eq!(removal, Removal::Absent);
    }

    #[test]
    fn groups_are_carried_by_groups() {
        let entry = |group: &str, underlay: &str| M2pEntry {
            group: group.parse().unwrap(),
            underlay: underlay.parse().unwrap(),
        };
        let ask = |maps: &Mappings, group: &str| maps.group(group.parse().unwrap());
        let maps = Mappings::default().with_group(&entry("239.1.1.1", "ff04::1")).unwrap();
        let maps = maps.with_group(&entry("239.1.1.1", "ff04::2")).unwrap();
        assert_eq!(ask(&maps, "239.1.1.1"), Some("ff04::2".parse().unwrap()));
        assert_eq!(ask(&maps, "239.1.1.2"), None);
        assert_eq!(ask(&maps, "ff05::1"), None);
        assert_eq!(ask(&maps, "ff04::7"), Some("ff04::7".parse().unwrap()));
        let (_, removal) = maps.without_group(&entry("239.1.1.1", "ff04::1"));
        assert_eq!(removal, Removal::Absent);
        let (maps, removal) = maps.without_group(&entry("239.1.1.1", "ff04::2"));
        assert_eq!((removal, maps.groups().count()), (Removal::Removed, 0));
        assert!(maps.with_group(&entry("10.0.0.1", "ff04::2")).is_err());
    }

    #[test]
    fn senders_are_known_while_an_entry_names_them() {
        let vni = Vni::new(7).unwrap();
        let host = |last: u16| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
        let guest = |ip: &str, last| V2pEntry {
            vni,
            ip: ip.parse().unwrap(),
            location: GuestLocation { mac: opte_api::MacAddr::default(), underlay_ip: host(last) },
        };
        let inside =
            |maps: &Mappings, last| maps.knows_sender(Mark::underlay(vni, false, host(last)));
        let outside =
            |maps: &Mappings, last| maps.knows_sender(Mark::underlay(vni, true, host(last)));
        let mut maps = Mappings::default();
        assert!(!inside(&maps, 1) && maps.knows_sender(Mark::neighbour(vni)));
        for entry in [guest("10.0.0.1", 1), guest("10.0.0.2", 1), guest("10.0.0.2", 1)] {
            maps = maps.with_guest(&entry).unwrap();
        }
        assert!(inside(&maps, 1) && !outside(&maps, 1));
        let other = Mark::underlay(Vni::new(8).unwrap(), false, host(1));
        assert!(!maps.knows_sender(other));
        // One guest moves, the other goes.
        maps = maps.with_guest(&guest("10.0.0.2", 2)).unwrap();
        assert!(inside(&maps, 1) && inside(&maps, 2));
        maps = maps.without_guest(&guest("10.0.0.1", 1)).0;
        assert!(!inside(&maps, 1) && inside(&maps, 2));
        for prefix in ["0.0.0.0/0", "::/0"] {
            maps = maps.with_boundary(&entry(prefix, &[5, 6])).unwrap();
        }
        assert!(outside(&maps, 5) && !inside(&maps, 5));
        maps = maps.without_boundary(&entry("::/0", &[5])).0;
        assert!(outside(&maps, 5));
        maps = maps.without_boundary(&entry("0.0.0.0/0", &[5])).0;
        assert!(!outside(&maps, 5) && outside(&maps, 6));
    }

    #[test]
    fn endpoints_add_up() {
        let maps = Mappings::default().with_boundary(&entry("::/0", &[2])).unwrap();
        let maps = maps.with_boundary(&entry("::/0", &[1, 2])).unwrap();
        assert_eq!(maps.boundaries_after(None).next().unwrap(), entry("::/0", &[1, 2]));
        let (maps, _) = maps.without_boundary(&entry("::/0", &[1]));
        assert_eq!(maps.boundaries_after(None).next().unwrap(), entry("::/0", &[2]));
        assert!(maps.with_boundary(&entry("::/0", &[])).is_err());
        // One with another VNI is another one.
        let mut twin = entry("::/0", &[2]);
        twin.endpoints[0].vni = Vni::new(98).unwrap();
        let both = maps.with_boundary(&twin).unwrap();
        assert_eq!(both.boundary("::1".parse().unwrap()).unwrap().len(), 2);
        let (maps, _) = both.without_boundary(&twin);
        assert_eq!(maps.boundaries_after(None).next().unwrap(), entry("::/0", &[2]));
    }
}
