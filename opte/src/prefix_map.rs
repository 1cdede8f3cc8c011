// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A persistent map from address prefixes, asked for the longest prefix that holds an address.
//!
//! A binary trie without nodes that only lead on (PATRICIA; Morrison, 1968), one for each address
//! family. Looking up visits only prefixes that hold the address, and forks above them: their
//! number grows with the logarithm of the number of prefixes, and is at most 129. A change copies
//! the nodes on its way that another map shares, and no others.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use opte_api::IpCidr;

/// Cloning costs two reference counts.
#[derive(Clone)]
pub struct PrefixMap<V> {
    /// IPv4, IPv6.
    roots: [Link<V>; 2],
    len: usize,
}

type Link<V> = Option<Arc<Node<V>>>;

/// A prefix. Without a value it has two children.
#[derive(Clone)]
struct Node<V> {
    /// Left-aligned; zero behind the prefix.
    bits: u128,
    len: u8,
    value: Option<V>,
    /// Longer prefixes, by the bit behind this one.
    children: [Link<V>; 2],
}

impl<V> Node<V> {
    const fn leaf(bits: u128, len: u8, value: V) -> Self {
        Self { bits, len, value: Some(value), children: [None, None] }
    }

    /// The prefix holds the address, or prefix of at least this length, of these bits.
    fn holds(&self, bits: u128) -> bool {
        common(self.bits, bits) >= self.len
    }

    fn child(&self, bits: u128) -> &Link<V> {
        let [zero, one] = &self.children;
        if bit(bits, self.len) { one } else { zero }
    }

    fn child_mut(&mut self, bits: u128) -> &mut Link<V> {
        let [zero, one] = &mut self.children;
        if bit(bits, self.len) { one } else { zero }
    }
}

/// Number of leading bits in which both agree.
const fn common(a: u128, b: u128) -> u8 {
    (a ^ b).leading_zeros() as u8
}

/// The bit at place `at` from the left; false behind the last.
fn bit(bits: u128, at: u8) -> bool {
    bits.checked_shl(at.into()).unwrap_or(0) >> 127 == 1
}

/// The first `len` bits.
fn first(bits: u128, len: u8) -> u128 {
    bits & !u128::MAX.checked_shr(len.into()).unwrap_or(0)
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { roots: [None, None], len: 0 }
    }
}

impl<V> PrefixMap<V> {
    /// Number of prefixes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There is no prefix.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    const fn root(&self, ipv4: bool) -> &Link<V> {
        let [v4, v6] = &self.roots;
        if ipv4 { v4 } else { v6 }
    }

    /// The value of the longest prefix that holds `ip`.
    pub fn longest(&self, ip: IpAddr) -> Option<&V> {
        let bits = IpCidr::host(ip).left_aligned_bits();
        let mut longest = None;
        let mut link = self.root(ip.is_ipv4());
        while let Some(node) = link.as_deref().filter(|node| node.holds(bits)) {
            longest = node.value.as_ref().or(longest);
            link = node.child(bits);
        }
        longest
    }

    /// The value of this very prefix.
    pub fn get(&self, prefix: IpCidr) -> Option<&V> {
        let (bits, len) = (prefix.left_aligned_bits(), prefix.prefix_len());
        let mut link = self.root(prefix.is_ipv4());
        while let Some(node) = link.as_deref().filter(|node| node.len <= len && node.holds(bits)) {
            if node.len == len {
                return node.value.as_ref();
            }
            link = node.child(bits);
        }
        None
    }

    /// All prefixes, by address, shorter before longer, IPv4 before IPv6.
    pub fn iter(&self) -> impl Iterator<Item = (IpCidr, &V)> {
        let [v4, v6] = &self.roots;
        let family = |root, ipv4| {
            Nodes::new(root).filter_map(move |node| Some((node, node.value.as_ref()?))).filter_map(
                move |(node, value)| {
                    Some((IpCidr::new(ip(node.bits, ipv4), node.len).ok()?, value))
                },
            )
        };
        family(v4, true).chain(family(v6, false))
    }
}

fn ip(bits: u128, ipv4: bool) -> IpAddr {
    if ipv4 {
        Ipv4Addr::from_bits((bits >> 96) as u32).into()
    } else {
        Ipv6Addr::from_bits(bits).into()
    }
}

/// All nodes below a link, parents first.
struct Nodes<'a, V>(Vec<&'a Node<V>>);

impl<'a, V> Nodes<'a, V> {
    fn new(root: &'a Link<V>) -> Self {
        Self(root.as_deref().into_iter().collect())
    }
}

impl<'a, V> Iterator for Nodes<'a, V> {
    type Item = &'a Node<V>;

    fn next(&mut self) -> Option<&'a Node<V>> {
        let node = self.0.pop()?;
        self.0.extend(node.children.iter().rev().filter_map(|link| link.as_deref()));
        Some(node)
    }
}

impl<V: Clone> PrefixMap<V> {
    const fn root_mut(&mut self, ipv4: bool) -> &mut Link<V> {
        let [v4, v6] = &mut self.roots;
        if ipv4 { v4 } else { v6 }
    }

    /// Sets the value of a prefix; answers the one it had.
    pub fn insert(&mut self, prefix: IpCidr, value: V) -> Option<V> {
        let (bits, len) = (prefix.left_aligned_bits(), prefix.prefix_len());
        let mut link = self.root_mut(prefix.is_ipv4());
        while link.as_ref().is_some_and(|node| node.len < len && node.holds(bits)) {
            let Some(node) = link else { break };
            link = Arc::make_mut(node).child_mut(bits);
        }
        let old = match link {
            Some(node) if node.len == len && node.bits == bits => {
                Arc::make_mut(node).value.replace(value)
            }
            Some(_) => {
                fork(link, bits, len, value);
                None
            }
            None => {
                *link = Some(Arc::new(Node::leaf(bits, len, value)));
                None
            }
        };
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a prefix away; answers its value.
    pub fn remove(&mut self, prefix: IpCidr) -> Option<V> {
        // Nothing is copied for a prefix that is not there.
        self.get(prefix)?;
        let (bits, len) = (prefix.left_aligned_bits(), prefix.prefix_len());
        let mut link = self.root_mut(prefix.is_ipv4());
        let value = loop {
            let node = Arc::make_mut(link.as_mut()?);
            if node.len == len {
                let value = node.value.take();
                join(link);
                break value;
            }
            let child = node.child_mut(bits);
            if child.as_ref()?.len == len {
                let value = Arc::make_mut(child.as_mut()?).value.take();
                join(child);
                join(link);
                break value;
            }
            let Some(node) = link else { return None };
            link = Arc::make_mut(node).child_mut(bits);
        };
        self.len -= usize::from(value.is_some());
        value
    }
}

/// Puts a prefix where a node is that does not lie above it.
fn fork<V>(link: &mut Link<V>, bits: u128, len: u8, value: V) {
    let Some(there) = link.take() else { return };
    let shared = common(there.bits, bits).min(len).min(there.len);
    let mut above =
        Node { bits: first(bits, shared), len: shared, value: None, children: [None, None] };
    let place = there.bits;
    *above.child_mut(place) = Some(there);
    if shared == len {
        above.value = Some(value);
    } else {
        *above.child_mut(bits) = Some(Arc::new(Node::leaf(bits, len, value)));
    }
    *link = Some(Arc::new(above));
}

/// Takes away a node that has neither a value nor two children.
fn join<V>(link: &mut Link<V>) {
    let Some(node) = link.as_deref().filter(|node| node.value.is_none()) else { return };
    let [zero, one] = &node.children;
    match (zero, one) {
        (Some(_), Some(_)) => {}
        (Some(only), None) | (None, Some(only)) => *link = Some(only.clone()),
        (None, None) => *link = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn map(prefixes: &[&str]) -> PrefixMap<usize> {
        let mut map = PrefixMap::default();
        for (value, prefix) in prefixes.iter().enumerate() {
            assert_eq!(map.insert(prefix.parse().unwrap(), value), None);
        }
        map
    }

    fn longest(map: &PrefixMap<usize>, ip: &str) -> Option<usize> {
        map.longest(ip.parse().unwrap()).copied()
    }

    #[test]
    fn the_longest_prefix_of_the_family_is_found() {
        let all = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::1/128"];
        let map = map(&all);
        for (ip, value) in [
            ("9.9.9.9", 0),
            ("10.2.0.1", 1),
            ("10.1.2.4", 2),
            ("10.1.2.3", 3),
            ("fd00::2", 4),
            ("fd00::1", 5),
        ] {
            assert_eq!(longest(&map, ip), Some(value), "{ip}");
        }
        let listed: Vec<_> = map.iter().map(|(prefix, _)| prefix.to_string()).collect();
        assert_eq!(listed, all);
        assert_eq!(longest(&PrefixMap::default(), "10.0.0.1"), None);
    }

    #[test]
    fn removal_leaves_no_trace_and_no_copy_sees_it() {
        let before = map(&["10.0.0.0/8", "10.64.0.0/10", "10.128.0.0/9"]);
        let mut after = before.clone();
        assert_eq!(after.remove("10.64.0.0/10".parse().unwrap()), Some(1));
        assert_eq!(after.remove("10.64.0.0/10".parse().unwrap()), None);
        // A fork is no prefix.
        assert_eq!(after.remove("10.0.0.0/9".parse().unwrap()), None);
        assert_eq!(
            (longest(&before, "10.64.0.1"), longest(&after, "10.64.0.1")),
            (Some(1), Some(0))
        );
        assert_eq!((before.len(), after.len()), (3, 2));
        for prefix in ["10.0.0.0/8", "10.128.0.0/9"] {
            after.remove(prefix.parse().unwrap());
        }
        assert!(after.is_empty() && after.iter().next().is_none());
        assert!(after.roots.iter().all(Option::is_none));
    }
}
