// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Look-ups of rules, routes and mappings against naive searches.

use opte::drop_reason::DropReason;
use opte::flow_key::FlowKey;
use opte::headers::MacPair;
use opte::meta::Meta;
use opte::rule::{Action, Facts, Predicate, Rule, RuleId};
use opte::table::{PrefixTable, Table};
use opte_api::{IpCidr, MacAddr, Protocol, Vni};
use opte_tests::setting::cases;
use oxide_vpc::Mappings;
use oxide_vpc::meta::PEER_VNI;
use oxide_vpc_api::request::Removal;
use oxide_vpc_api::{BoundaryEndpoint, GuestLocation, V2bEntry, V2pEntry};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Few addresses that share prefixes of all lengths.
fn ips() -> impl Strategy<Value = IpAddr> {
    let bits =
        (0u32..4, 0u32..3).prop_map(|(high, low)| [0, 1 << 31, 0xa << 24, !0][high as usize] | low);
    (any::<bool>(), bits).prop_map(|(ipv4, bits)| {
        if ipv4 {
            Ipv4Addr::from_bits(bits).into()
        } else {
            Ipv6Addr::from_bits(u128::from(bits) << 96 | u128::from(bits & 3)).into()
        }
    })
}

fn prefixes() -> impl Strategy<Value = IpCidr> {
    let len = prop_oneof![Just(0u8), Just(1), Just(8), Just(31), Just(32), 0u8..=128];
    (ips(), len).prop_map(|(ip, len)| {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        IpCidr::new(ip, len.min(longest)).unwrap()
    })
}

fn facts() -> impl Strategy<Value = (Facts, Meta)> {
    let protocol = prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(47)];
    let key = (ips(), ips(), protocol, 0u16..4, 0u16..4)
        .prop_filter("one family", |(src, dst, ..)| src.is_ipv4() == dst.is_ipv4())
        .prop_map(|(src, dst, protocol, a, b)| {
            let protocol = Protocol(protocol);
            let icmp = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
            FlowKey::new(src, dst, protocol, [if icmp { a << 8 | b } else { a }, b])
        });
    let vni = proptest::option::of(0u32..3);
    (proptest::option::weighted(0.9, key), macs(), macs(), vni).prop_map(|(key, dst, src, vni)| {
        let mut meta = Meta::default();
        if let Some(vni) = vni {
            meta.set(PEER_VNI, Vni::new(vni).unwrap());
        }
        (Facts { key, macs: MacPair::new(dst, src) }, meta)
    })
}

fn macs() -> impl Strategy<Value = MacAddr> {
    (0u8..3).prop_map(|last| MacAddr([2, 0, 0, 0, 0, last]))
}

fn predicates() -> impl Strategy<Value = Predicate> {
    let leaf = prop_oneof![
        Just(Predicate::Arp),
        any::<bool>().prop_map(Predicate::Ipv4),
        prop_oneof![Just(6u8), Just(17), Just(1)].prop_map(|n| Predicate::Protocol(Protocol(n))),
        prefixes().prop_map(Predicate::Src),
        prefixes().prop_map(Predicate::Dst),
        (0u16..3, 0u16..3).prop_map(|(first, more)| Predicate::SrcPort(first, first + more)),
        vec((0u16..4, 0u16..4), 1..3).prop_map(Predicate::DstPort),
        (0u8..3, 0u8..4).prop_map(|(first, last)| Predicate::IcmpType(first, last)),
        (0u8..3, 0u8..4).prop_map(|(first, last)| Predicate::IcmpCode(first, last)),
        macs().prop_map(Predicate::SrcMac),
        macs().prop_map(Predicate::DstMac),
        (0u128..3).prop_map(|vni| Predicate::Meta(PEER_VNI.slot(), vni)),
    ];
    (leaf, any::<bool>(), any::<bool>()).prop_map(|(leaf, not, rarely)| {
        if not && rarely { Predicate::Not(Arc::new(leaf)) } else { leaf }
    })
}

/// A rule before it has a number.
type Draft = (u16, Vec<Predicate>, bool);

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    vec((0u16..4, vec(predicates(), 0..3), any::<bool>()), 0..80)
}

fn rules(drafts: Vec<Draft>) -> Vec<Arc<Rule>> {
    let rule = |((priority, predicates, deny), id)| {
        let action =
            if deny { Action::Deny(DropReason::FirewallRule) } else { Action::AllowStateful };
        Arc::new(Rule::new(RuleId(id), priority, predicates, action))
    };
    drafts.into_iter().zip(0..).map(rule).collect()
}

fn is_deny(rule: &Rule) -> bool {
    matches!(rule.action, Action::Deny(_))
}

/// Lower priority number first, then deny, then the newest.
fn goes_before(a: &Rule, b: &Rule) -> bool {
    if a.priority != b.priority {
        return a.priority < b.priority;
    }
    if is_deny(a) != is_deny(b) {
        return is_deny(a);
    }
    a.id.0 > b.id.0
}

fn first<'a>(rules: impl Iterator<Item = &'a Arc<Rule>>) -> Option<RuleId> {
    rules.reduce(|best, rule| if goes_before(rule, best) { rule } else { best }).map(|rule| rule.id)
}

/// The addresses agree in the prefix's bits.
fn holds(prefix: IpCidr, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => format!("4{:032b}", ip.to_bits()),
        IpAddr::V6(ip) => format!("6{:0128b}", ip.to_bits()),
    };
    bits(ip).starts_with(&bits(prefix.addr())[..1 + usize::from(prefix.prefix_len())])
}

#[derive(Clone, Debug)]
enum MapStep {
    /// Set or clear.
    Guest(bool, V2pEntry),
    /// Set or clear.
    Boundary(bool, V2bEntry),
}

fn map_steps() -> impl Strategy<Value = MapStep> {
    let guest = (0u32..2, ips(), macs(), 0u16..2).prop_map(|(vni, ip, mac, host)| V2pEntry {
        vni: Vni::new(vni).unwrap(),
        ip,
        location: GuestLocation { mac, underlay_ip: Ipv6Addr::new(1, 0, 0, 0, 0, 0, 0, host) },
    });
    let endpoint = (0u16..3).prop_map(|host| BoundaryEndpoint {
        underlay_ip: Ipv6Addr::new(2, 0, 0, 0, 0, 0, 0, host),
        vni: Vni::new(99).unwrap(),
    });
    let boundary = (prefixes(), vec(endpoint, 1..3))
        .prop_map(|(prefix, endpoints)| V2bEntry { prefix, endpoints });
    prop_oneof![
        (any::<bool>(), guest).prop_map(|(set, entry)| MapStep::Guest(set, entry)),
        (any::<bool>(), boundary).prop_map(|(set, entry)| MapStep::Boundary(set, entry)),
    ]
}

#[derive(Default)]
struct NaiveMappings {
    guests: BTreeMap<(Vni, IpAddr), GuestLocation>,
    boundaries: BTreeMap<IpCidr, BTreeSet<BoundaryEndpoint>>,
}

impl NaiveMappings {
    fn play(&mut self, maps: &mut Mappings, step: &MapStep) {
        match step {
            MapStep::Guest(true, entry) => {
                if let Ok(next) = maps.with_guest(entry) {
                    *maps = next;
                    self.guests.insert((entry.vni, entry.ip), entry.location);
                }
            }
            MapStep::Guest(false, entry) => {
                let there = self.guests.get(&(entry.vni, entry.ip)) == Some(&entry.location);
                let (next, removal) = maps.without_guest(entry);
                *maps = next;
                assert_eq!(removal == Removal::Removed, there);
                if there {
                    self.guests.remove(&(entry.vni, entry.ip));
                }
            }
            MapStep::Boundary(true, entry) => {
                if let Ok(next) = maps.with_boundary(entry) {
                    *maps = next;
                    self.boundaries.entry(entry.prefix).or_default().extend(&entry.endpoints);
                }
            }
            MapStep::Boundary(false, entry) => {
                let (next, removal) = maps.without_boundary(entry);
                *maps = next;
                let known = self.boundaries.entry(entry.prefix).or_default();
                let count = known.len();
                known.retain(|endpoint| !entry.endpoints.contains(endpoint));
                assert_eq!(removal == Removal::Removed, known.len() < count);
                self.boundaries.retain(|_, endpoints| !endpoints.is_empty());
            }
        }
    }

    fn boundary(&self, dst: IpAddr) -> Option<Vec<BoundaryEndpoint>> {
        let holding = self.boundaries.iter().filter(|(prefix, _)| holds(**prefix, dst));
        let longest = holding.max_by_key(|(prefix, _)| prefix.prefix_len());
        longest.map(|(_, endpoints)| endpoints.iter().copied().collect())
    }
}

type Outcome = Result<(), TestCaseError>;

/// The table finds what trying all of these rules finds, from the first match to the last.
fn check_rules(table: &Table, rules: &[Arc<Rule>], (facts, meta): &(Facts, Meta)) -> Outcome {
    let mut left: Vec<_> = rules.iter().filter(|rule| rule.matches(facts, meta)).collect();
    let mut from = 0;
    loop {
        let found = table.matching(facts, meta, from);
        let expected = first(left.iter().copied());
        prop_assert_eq!(found.map(|(_, rule)| rule.id), expected);
        let Some((at, rule)) = found else { break };
        left.retain(|other| other.id != rule.id);
        from = at + 1;
    }
    prop_assert_eq!(table.len(), rules.len());
    let order: Vec<_> = table.rules().collect();
    prop_assert!(order.is_sorted_by(|a, b| goes_before(a, b)));
    prop_assert_eq!(order.len(), rules.len());
    Ok(())
}

/// The table finds what trying all of these prefixes finds.
fn check_prefixes(table: &Table, entries: &[(IpCidr, Arc<Rule>)], dsts: &[IpAddr]) -> Outcome {
    for dst in dsts {
        let key = FlowKey::new(*dst, *dst, Protocol::UDP, [1, 2]);
        let facts = Facts { key: Some(key), macs: MacPair::default() };
        let found = table.matching(&facts, &Meta::default(), 0).map(|(_, rule)| rule.id);
        let holding = || entries.iter().filter(|(prefix, _)| holds(*prefix, *dst));
        let longest = holding().map(|(prefix, _)| prefix.prefix_len()).max();
        let best = holding().filter(|(prefix, _)| Some(prefix.prefix_len()) == longest);
        prop_assert_eq!(found, first(best.map(|(_, rule)| rule)));
    }
    prop_assert_eq!(table.len(), entries.len());
    let mut order: Vec<_> = entries.iter().collect();
    order.sort_by_key(|(prefix, rule)| {
        (std::cmp::Reverse(prefix.prefix_len()), prefix.addr(), rule.rank())
    });
    let order: Vec<_> = order.into_iter().map(|(_, rule)| rule.id).collect();
    prop_assert_eq!(table.rules().map(|rule| rule.id).collect::<Vec<_>>(), order);
    Ok(())
}

proptest! {
    #![proptest_config(cases(2000))]

    /// The first rule by priority, deny, age; and behind it the next one.
    #[test]
    fn rules_are_found_as_by_trying_all(drafts in drafts(), packets in vec(facts(), 4)) {
        let rules = rules(drafts);
        let table = Table::by_priority(rules.clone());
        for packet in &packets {
            check_rules(&table, &rules, packet)?;
        }
    }

    /// A table that came about by single changes is that of all its rules at once; and no change
    /// is seen in the table before.
    #[test]
    fn changed_tables_are_as_if_made_anew(
        drafts in drafts(),
        packets in vec(facts(), 4),
        (first, changes) in (0usize..80, vec((any::<bool>(), any::<prop::sample::Index>()), 0..40)),
    ) {
        let mut rest = rules(drafts);
        let mut live = rest.split_off(first.min(rest.len()));
        let mut table = Table::by_priority(live.clone());
        for (add, which) in changes {
            let (before, old) = (table.clone(), live.clone());
            let (from, to) = if add { (&mut rest, &mut live) } else { (&mut live, &mut rest) };
            if from.is_empty() {
                continue;
            }
            let rule = from.swap_remove(which.index(from.len()));
            table = if add { table.with_rule(rule.clone()) } else { table.without_rule(&rule) };
            to.push(rule);
            check_rules(&before, &old, &packets[0])?;
        }
        for packet in &packets {
            check_rules(&table, &live, packet)?;
        }
    }

    /// The longest prefix; among equals the first by priority, deny, age.
    #[test]
    fn prefixes_are_found_as_by_trying_all(
        drafts in drafts(),
        given in vec(prefixes(), 80),
        gone in vec(any::<bool>(), 80),
        dsts in vec(ips(), 8),
    ) {
        let entries: Vec<_> = given.into_iter().zip(rules(drafts)).collect();
        let before = PrefixTable::new(entries.clone());
        let mut after = before.clone();
        for ((prefix, rule), _) in entries.iter().zip(&gone).filter(|(_, gone)| **gone) {
            after.remove(*prefix, rule.id);
        }
        let left: Vec<_> = entries.iter().zip(&gone).filter(|(_, gone)| !**gone).collect();
        let left: Vec<_> = left.into_iter().map(|(entry, _)| entry.clone()).collect();
        check_prefixes(&Table::Prefix(before), &entries, &dsts)?;
        check_prefixes(&Table::Prefix(after), &left, &dsts)?;
    }

    /// Mappings are two maps, and the longest prefix is found.
    #[test]
    fn mappings_are_two_maps(steps in vec(map_steps(), 0..60), dsts in vec(ips(), 8)) {
        let (mut maps, mut naive) = (Mappings::default(), NaiveMappings::default());
        for step in &steps {
            let before = maps.clone();
            let listed: Vec<_> = before.boundaries_after(None).collect();
            naive.play(&mut maps, step);
            // A snapshot never changes.
            prop_assert_eq!(before.boundaries_after(None).collect::<Vec<_>>(), listed);
        }
        for dst in dsts {
            prop_assert_eq!(maps.boundary(dst).map(<[_]>::to_vec), naive.boundary(dst));
            for vni in [0, 1].map(|number| Vni::new(number).unwrap()) {
                prop_assert_eq!(maps.guest(vni, dst), naive.guests.get(&(vni, dst)));
            }
        }
        let boundaries = maps.boundaries_after(None).map(|entry| (entry.prefix, entry.endpoints.into_iter().collect()));
        prop_assert_eq!(boundaries.collect::<BTreeMap<_, BTreeSet<_>>>(), naive.boundaries);
        let guests = maps.guests_after(None).map(|entry| ((entry.vni, entry.ip), entry.location));
        prop_assert_eq!(guests.collect::<BTreeMap<_, _>>(), naive.guests);
    }
}
