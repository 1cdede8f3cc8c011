// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

extern crate std;
use super::*;
use crate::flow_table::testing::StdHost;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use opte_api::IpCidr;
use proptest::prelude::*;

const IP: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A packet of this guest, with this source and destination port.
fn key(guest: u8, ports: [u16; 2]) -> FlowKey {
    let guest = IpAddr::from([10, 0, 0, guest]);
    FlowKey::new(guest, ip("198.51.100.7"), Protocol::UDP, ports)
}

fn space() -> Arc<ReservationSpace> {
    ReservationSpace::new::<StdHost>(7)
}

fn wait(space: &ReservationSpace, millis: u64) {
    space.tick(space.now().plus_millis(millis));
}

fn pool(space: &Arc<ReservationSpace>, ports: RangeInclusive<u16>, options: NatOptions) -> NatPool {
    of_ranges(space, [Range::of(ip(IP), ports)].into(), options)
}

fn of_ranges(space: &Arc<ReservationSpace>, ranges: Vec<Range>, options: NatOptions) -> NatPool {
    let holder = space.holder("guest");
    holder.set_hold(options.hold);
    NatPool::new(holder, Realm::OUTSIDE, ranges, options)
}

fn no_wait() -> NatOptions {
    NatOptions { hold: Hold { millis: 0, ports: 0 }, ..NatOptions::default() }
}

/// A lease as a connection has it that was opened.
fn lease(pool: &NatPool, guest: u8, port: u16) -> Result<Lease, Failure> {
    pool.lease(&key(guest, [port, 80]), 0).inspect(Lease::confirm)
}

fn leases(pool: &NatPool, sources: impl Iterator<Item = u16>) -> Vec<Lease> {
    sources.map_while(|port| lease(pool, 1, port).ok()).collect()
}

fn external(lease: &Lease) -> (IpAddr, u16) {
    lease.mapping().external()
}

#[test]
fn every_port_once_and_back() {
    let space = space();
    let pool = pool(&space, 1000..=1129, no_wait());
    let held = leases(&pool, 2000..3000);
    let ports: BTreeSet<u16> = held.iter().map(Lease::port).collect();
    assert_eq!(ports, (1000..=1129).collect());
    assert_eq!(lease(&pool, 1, 3000).unwrap_err(), Failure::Exhausted);
    drop(held);
    assert!(lease(&pool, 1, 3000).is_ok());
}

#[test]
fn leases_outlive_the_pool_that_gave_them() {
    let space = space();
    let held = lease(&pool(&space, 7..=8, no_wait()), 1, 1).unwrap();
    space.tidy();
    let again = pool(&space, 7..=8, no_wait());
    let other = lease(&again, 1, 2).unwrap();
    assert_ne!(held.port(), other.port());
    assert_eq!(lease(&again, 1, 3).unwrap_err(), Failure::Exhausted);
}

/// RFC 4787, REQ-1; RFC 5382, REQ-1; RFC 5508, REQ-1a.
#[test]
fn a_mapping_is_one_for_all_remotes_and_ends_with_its_last_connection() {
    let space = space();
    let pool = pool(&space, 5000..=5999, no_wait());
    let elsewhere = key(1, [1, 53]).with_dst(ip("203.0.113.3"));
    let (a, b) = (lease(&pool, 1, 1).unwrap(), pool.lease(&elsewhere, 9).unwrap());
    assert_eq!(external(&a), external(&b));
    assert_eq!(a.mapping().uses(), 2);
    drop(a);
    assert_eq!(external(&pool.lease(&key(1, [1, 99]), 5).unwrap()), external(&b));
    let port = b.port();
    drop(b);
    assert_eq!(space.holder("guest").mapped(), (0, 1));
    assert_eq!(pool.usage(pool.ranges().next().unwrap())[1].used, 0);
    let ports: BTreeSet<u16> = (0..20).map(|_| lease(&pool, 1, 1).unwrap().port()).collect();
    assert!(ports.len() > 1 || !ports.contains(&port), "drawn anew: {ports:?}");
}

/// RFC 4787, section 4.1.
#[test]
fn mappings_depend_on_what_they_are_told_to_depend_on() {
    let to = |dst: &str, port| key(1, [1, port]).with_dst(ip(dst));
    let all = [to("203.0.113.3", 53), to("203.0.113.3", 54), to("203.0.113.4", 53)];
    for (mapping, expected) in
        [(Dependence::Nothing, 1), (Dependence::Address, 2), (Dependence::AddressAndPort, 3)]
    {
        let mapping = ByProtocol { udp: mapping, ..ByProtocol::default() };
        let pool = pool(&space(), 5000..=5999, NatOptions { mapping, ..no_wait() });
        let held: Vec<_> = all.iter().map(|key| pool.lease(key, 0).unwrap()).collect();
        let tuples: BTreeSet<_> = held.iter().map(external).collect();
        assert_eq!(tuples.len(), expected);
        // The others are independent of it.
        let tcp = all.map(|key| FlowKey::new(key.src(), key.dst(), Protocol::TCP, [1, 53]));
        let held: Vec<_> = tcp.iter().map(|key| pool.lease(key, 0).unwrap()).collect();
        assert!(held.iter().all(|lease| external(lease) == external(&held[0])));
    }
}

/// RFC 6888, REQ-8.
#[test]
fn a_port_that_comes_back_waits() {
    let space = space();
    let pool = pool(&space, 60..=61, NatOptions::default());
    let first = lease(&pool, 1, 1).unwrap().port();
    wait(&space, 119_999);
    let second = lease(&pool, 1, 2).unwrap();
    assert_ne!(second.port(), first);
    wait(&space, 1);
    assert_eq!(lease(&pool, 1, 3).unwrap().port(), first);
}

/// RFC 6888, REQ-8a.
#[test]
fn how_long_ports_wait_and_how_many_is_configured() {
    let space = space();
    let hold = Hold { millis: 5_000, ports: 2 };
    let pool = pool(&space, 60..=63, NatOptions { hold, ..NatOptions::default() });
    let waiting = || pool.usage(pool.ranges().next().unwrap())[1].quarantined;
    let held = leases(&pool, 1..4);
    drop(held);
    assert_eq!(waiting(), 2);
    wait(&space, 4_999);
    let _one = lease(&pool, 1, 5).unwrap();
    assert_eq!(waiting(), 2);
    wait(&space, 1);
    let _two = lease(&pool, 1, 6).unwrap();
    assert_eq!(waiting(), 0);
}

#[test]
fn under_pressure_the_port_that_waited_longest_goes_first() {
    let space = space();
    let pool = pool(&space, 60..=61, NatOptions::default());
    let (a, b) = (lease(&pool, 1, 1).unwrap(), lease(&pool, 1, 2).unwrap());
    let (first, second) = (a.port(), b.port());
    drop(b);
    wait(&space, 10);
    drop(a);
    assert_eq!(lease(&pool, 1, 3).unwrap().port(), second);
    assert_eq!(lease(&pool, 1, 4).unwrap().port(), first);
}

#[test]
fn a_port_that_no_connection_used_does_not_wait() {
    let space = space();
    let pool = pool(&space, 60..=60, NatOptions::default());
    drop(pool.lease(&key(1, [1, 80]), 0).unwrap());
    let range = pool.ranges().next().unwrap();
    assert_eq!(pool.usage(range)[1], Usage { free: 1, peak: 1, ..Usage::default() });
}

/// RFC 6056, section 3.3; RFC 6888, REQ-15; RFC 7857, section 9.
#[test]
fn ports_are_drawn_from_all_that_are_free() {
    let space = space();
    let pool = pool(&space, 1024..=65_535, no_wait());
    let held = leases(&pool, 1024..5120);
    // Each sixteenth of the range has about its share of 256: over ten deviations would be off.
    let mut seen = [0i32; 16];
    held.iter().for_each(|lease| seen[usize::from((lease.port() - 1024) / 4032)] += 1);
    assert!(seen.iter().all(|count| (count - 256).abs() < 160), "{seen:?}");
    // With neighbours no more often than chance has it.
    let ports: Vec<u16> = held.iter().map(Lease::port).collect();
    assert!(ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 8).count() < 16);
}

#[test]
fn the_last_free_ports_are_as_likely_as_each_other() {
    let space = space();
    let pool = pool(&space, 1024..=9215, no_wait());
    let _most = leases(&pool, 1024..9212);
    let mut seen = alloc::collections::BTreeMap::<u16, u32>::new();
    (0..800)
        .for_each(|n| *seen.entry(lease(&pool, 1, 20_000 + n).unwrap().port()).or_default() += 1);
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen.values().all(|count| *count > 120), "{seen:?}");
}

#[test]
fn without_chance_the_lowest_goes_first() {
    let pool = pool(&space(), 2000..=2999, NatOptions { random: false, ..no_wait() });
    let held = leases(&pool, 2000..2010);
    assert!(held.iter().map(Lease::port).eq(2000..2010));
}

/// RFC 4787, REQ-3a and REQ-4; RFC 7857, section 8.
#[test]
fn class_and_parity_are_kept_while_there_are_such() {
    let options = NatOptions { parity: true, ..no_wait() };
    let pool = pool(&space(), 1020..=1027, options);
    let mut held = Vec::new();
    for source in [500, 501, 502, 503, 4000, 4001, 4002, 4003] {
        let lease = lease(&pool, 1, source).unwrap();
        assert_eq!((lease.port() < 1024, lease.port() & 1), (source < 1024, source & 1));
        held.push(lease);
    }
    held.pop();
    // Better another class than none.
    assert!(lease(&pool, 1, 600).is_ok());
    let off = pool_of_class_off();
    let drawn: BTreeSet<bool> = leases(&off, 500..540).iter().map(|l| l.port() < 1024).collect();
    assert_eq!(drawn.len(), 2);
}

fn pool_of_class_off() -> NatPool {
    pool(&space(), 924..=1123, NatOptions { port_class: false, ..no_wait() })
}

/// RFC 4787, REQ-2; RFC 6888, REQ-2 and REQ-3; RFC 7857, section 4.
#[test]
fn a_guest_keeps_one_address_across_protocols() {
    let ranges = |count: u8| -> Vec<Range> {
        (0..count).map(|n| Range::of(IpAddr::from([192, 0, 2, n * 3]), 100..=101)).collect()
    };
    let udp_and_tcp = |pool: &NatPool| -> Vec<Lease> {
        let keys = [Protocol::UDP, Protocol::TCP].map(|protocol| {
            let key = key(1, [1, 1]);
            FlowKey::new(key.src(), key.dst(), protocol, [7, 8])
        });
        keys.iter().map(|key| pool.lease(key, key.src_port().into()).unwrap()).collect()
    };
    for (pooling, addresses, last) in
        [(Pooling::Paired, 2, Ok(())), (Pooling::PairedOnly, 1, Err(Failure::Exhausted))]
    {
        let space = space();
        let options = NatOptions { pooling, ..no_wait() };
        let few = of_ranges(&space, ranges(4), options);
        let mut held = udp_and_tcp(&few);
        // More addresses move nobody.
        let many = of_ranges(&space, ranges(40), options);
        held.push(lease(&many, 1, 8).unwrap());
        let home = held[0].mapping().external().0;
        assert!(held.iter().all(|lease| lease.mapping().external().0 == home));
        assert_eq!(space.holder("guest").guests()[0].paired, Some(home));
        // Its address has no port of UDP left.
        let third = lease(&many, 1, 9);
        assert_eq!(third.as_ref().map(|_| ()).map_err(|f| *f), last);
        held.extend(third);
        let seen: BTreeSet<IpAddr> = held.iter().map(|l| l.mapping().external().0).collect();
        assert_eq!(seen.len(), addresses);
    }
    // Many guests are spread.
    let pool = of_ranges(&space(), ranges(40), no_wait());
    let held: Vec<_> = (0..40).map(|guest| lease(&pool, guest, 1).unwrap()).collect();
    let seen: BTreeSet<IpAddr> = held.iter().map(|l| l.mapping().external().0).collect();
    assert!(seen.len() > 15, "{seen:?}");
}

/// RFC 6888, REQ-3.
#[test]
fn a_prefix_of_any_width_is_a_pool() {
    for text in ["2001:db8::/64", "2001:db8::/32", "2001:db8::6/127", "2001:db8::6/128", "::/0"] {
        let prefix: opte_api::IpCidr = text.parse().unwrap();
        let pool =
            of_ranges(&space(), [Range { prefix, ports: 5..=6 }].into(), NatOptions::default());
        let mut held = Vec::new();
        for guest in 0..8u8 {
            let src = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(guest)]);
            let key = FlowKey::new(src, ip("2001:db8:7::1"), Protocol::TCP, [1, 2]);
            let Ok(lease) = pool.lease(&key, 0) else { continue };
            assert!(prefix.contains(lease.mapping().external().0));
            held.push(lease);
        }
        let seen: BTreeSet<_> = held.iter().map(external).collect();
        assert_eq!(seen.len(), held.len());
        assert_eq!(
            held.len(),
            [8, 4, 2][usize::from(prefix.host_len() < 2) + usize::from(prefix.host_len() < 1)]
        );
    }
}

/// RFC 6888, REQ-4, REQ-4a and REQ-4b.
#[test]
fn guests_and_owners_have_limits() {
    let limits = Limits { owner: 5, guest: 3, protocol: 2 };
    let pool = pool(&space(), 5000..=5999, NatOptions { limits, ..no_wait() });
    let mut held: Vec<_> = (1..3).map(|port| lease(&pool, 1, port).unwrap()).collect();
    assert_eq!(lease(&pool, 1, 3).unwrap_err(), Failure::GuestLimit);
    let tcp = |port| FlowKey::new(key(1, [0, 0]).src(), ip(OTHER), Protocol::TCP, [port, 1]);
    held.push(pool.lease(&tcp(1), 0).unwrap());
    assert_eq!(pool.lease(&tcp(2), 0).unwrap_err(), Failure::GuestLimit);
    // What is mapped already goes on, and others have theirs.
    held.push(pool.lease(&tcp(1).with_dst_port(9), 0).unwrap());
    held.push(lease(&pool, 2, 1).unwrap());
    held.push(lease(&pool, 2, 2).unwrap());
    assert_eq!(lease(&pool, 3, 1).unwrap_err(), Failure::OwnerLimit);
    let failed: Vec<u64> = pool_failures(&held[0]);
    assert_eq!(failed, [0, 0, 2, 1, 0]);
}

fn pool_failures(lease: &Lease) -> Vec<u64> {
    lease.mapping().holder().failures().map(|(_, count)| count).collect()
}

/// RFC 4787, REQ-8 and REQ-8a; RFC 6888, REQ-7.
#[test]
fn filters_let_in_whom_they_are_told_to() {
    let stranger = ip("203.0.113.99");
    for (filtering, known, unknown) in [
        (Dependence::Nothing, true, true),
        (Dependence::Address, true, false),
        (Dependence::AddressAndPort, false, false),
    ] {
        let filtering = ByProtocol { udp: filtering, ..ByProtocol::default() };
        let pool = pool(&space(), 5000..=5999, NatOptions { filtering, ..no_wait() });
        let held = lease(&pool, 1, 1).unwrap();
        let from = |src| FlowKey::new(src, ip(IP), Protocol::UDP, [999, held.port()]);
        let mapped = |src| match pool.arrive(&from(src)) {
            Arrival::Mapped(lease) => {
                assert_eq!(external(&lease), external(&held));
                true
            }
            Arrival::Filtered => false,
            Arrival::Unmapped => panic!("it is mapped"),
        };
        assert_eq!((mapped(ip("198.51.100.7")), mapped(stranger)), (known, unknown));
        let key = from(stranger).with_dst_port(held.port() ^ 1);
        assert!(matches!(pool.arrive(&key), Arrival::Unmapped));
    }
}

/// RFC 7857, section 3.
#[test]
fn a_port_serves_two_destinations_if_told_to() {
    let pool = pool(&space(), 60..=61, NatOptions { sharing: true, ..NatOptions::default() });
    let held: Vec<_> = (1..=6).map(|port| lease(&pool, 1, port).unwrap()).collect();
    assert!(held[..2].iter().all(|lease| !lease.mapping().is_shared()));
    assert!(held[2..].iter().all(|lease| lease.mapping().is_shared()));
    let range = pool.ranges().next().unwrap();
    assert_eq!(pool.usage(range)[1].used, 2);
    drop(held);
    assert_eq!(pool.usage(range)[1], Usage { quarantined: 2, peak: 6, ..Usage::default() });
}

#[test]
fn what_is_taken_away_lends_nothing_and_leaves_what_is_on_loan() {
    let space = space();
    let held = lease(&pool(&space, 60..=61, no_wait()), 1, 1).unwrap();
    let pool = of_ranges(&space, [Range::of(ip(OTHER), 5000..=5099)].into(), no_wait());
    assert!(!pool.lends(Protocol::UDP, ip(IP), held.port()));
    // The same endpoint, too, begins anew elsewhere.
    let new = lease(&pool, 1, 1).unwrap();
    assert_eq!(external(&new).0, ip(OTHER));
    assert!(pool.lends(Protocol::UDP, ip(OTHER), new.port()));
    assert_eq!((held.mapping().uses(), new.mapping().uses()), (1, 1));
    assert!(matches!(
        pool.arrive(&FlowKey::new(ip(OTHER), ip(IP), Protocol::UDP, [9, held.port()])),
        Arrival::Mapped(_)
    ));
}

#[test]
fn pools_grow_and_shrink_in_place() {
    let space = space();
    let held = lease(&pool(&space, 60..=60, no_wait()), 1, 1).unwrap();
    let ranges = [Range::of(ip(IP), 60..=60), Range::of(ip(IP), 62..=62)];
    let more = lease(&of_ranges(&space, ranges.into(), no_wait()), 1, 2).unwrap();
    assert_eq!((held.port(), more.port()), (60, 62));
    let shrunk = pool(&space, 62..=62, no_wait());
    let lends = |port| shrunk.lends(Protocol::UDP, ip(IP), port);
    assert_eq!([60, 61, 62].map(lends), [false, false, true]);
    assert_eq!(external(&lease(&shrunk, 1, 2).unwrap()), external(&more));
}

#[test]
fn claims_keep_pools_away_and_conflicts_have_names() {
    let space = space();
    let (holder, other) = (space.holder("guest"), space.holder("other"));
    let pool = pool(&space, 60..=62, no_wait());
    let held = leases(&pool, 1..4);
    let port = held[0].port();
    let tuples = |ports| Tuples {
        protocol: Some(Protocol::UDP),
        ports,
        ..Tuples::of(Realm::OUTSIDE, opte_api::IpCidr::host(ip(IP)))
    };
    let refused = space.claim(&other, tuples(60..=62)).err().unwrap();
    assert!(matches!(refused, Conflict::OnLoan { .. }));
    assert!(refused.to_string().starts_with("a connection of guest uses 192.0.2.1"), "{refused}");
    assert!(pool.lends(Protocol::UDP, ip(IP), port));
    // The owner's own connections are judged instead.
    let claim = space.claim(&holder, tuples(port..=port)).unwrap();
    assert!(!pool.lends(Protocol::UDP, ip(IP), port));
    drop(held);
    let left = leases(&pool, 1..4);
    assert!(left.len() == 2 && left.iter().all(|lease| lease.port() != port));
    let whole = Tuples::of(Realm::OUTSIDE, opte_api::IpCidr::host(ip(IP)));
    let refused = space.claim(&other, whole).err().unwrap();
    assert_eq!(
        refused.to_string(),
        alloc::format!("192.0.2.1/32 UDP port {port} belongs to guest")
    );
    // A second claim of the same owner holds when the first one goes.
    let second = space.claim(&holder, tuples(60..=62)).unwrap();
    drop(claim);
    assert_eq!(pool.usage(pool.ranges().next().unwrap())[1].claimed, 1);
    drop((left, second));
    assert_eq!(leases(&pool, 1..9).len(), 3);
}

#[test]
fn an_exact_tuple_is_taken_back_once() {
    let space = space();
    let pool = pool(&space, 60..=62, NatOptions::default());
    let (first, second) = (key(1, [1, 80]), key(1, [2, 80]));
    let held = pool.lease_exactly(&first, ip(IP), 61).unwrap();
    assert_eq!(external(&pool.lease_exactly(&first, ip(IP), 61).unwrap()), external(&held));
    assert!(pool.lease_exactly(&second, ip(IP), 61).is_none());
    assert!(pool.lease_exactly(&second, ip(IP), 70).is_none());
    held.confirm();
    drop(held);
    // One that waits will do.
    assert!(pool.lease_exactly(&second, ip(IP), 61).is_some());
}

#[test]
fn a_tuple_that_is_taken_again_lets_in_whom_it_was_used_towards() {
    let filtering = ByProtocol { udp: Dependence::Address, ..ByProtocol::default() };
    let pool = pool(&space(), 60..=62, NatOptions { filtering, ..no_wait() });
    let _held = pool.lease_exactly(&key(1, [1, 80]), ip(IP), 61).unwrap();
    let other = ip("198.51.100.8");
    let from = |src| FlowKey::new(src, ip(IP), Protocol::UDP, [999, 61]);
    assert!(matches!(pool.arrive(&from(ip("198.51.100.7"))), Arrival::Mapped(_)));
    assert!(matches!(pool.arrive(&from(other)), Arrival::Filtered));
    let _more = pool.lease_exactly(&key(1, [1, 80]).with_dst(other), ip(IP), 61).unwrap();
    assert!(matches!(pool.arrive(&from(other)), Arrival::Mapped(_)));
}

#[test]
fn a_tuple_that_was_shared_is_shared_again_by_its_owner_only() {
    let space = space();
    let sharing = NatOptions { sharing: true, ..no_wait() };
    let mine = pool(&space, 60..=62, sharing);
    let ranges = Vec::from([Range::of(ip(IP), 60..=62)]);
    let theirs = NatPool::new(space.holder("theirs"), Realm::OUTSIDE, ranges, sharing);
    let first = mine.lease_exactly(&key(1, [1, 80]), ip(IP), 61).unwrap();
    let second = mine.lease_exactly(&key(1, [2, 81]), ip(IP), 61).unwrap();
    assert_eq!(external(&second), external(&first));
    assert_eq!([&first, &second].map(|lease| lease.mapping().is_shared()), [false, true]);
    assert!(theirs.lease_exactly(&key(1, [3, 82]), ip(IP), 61).is_none());
    drop(first);
    assert!(theirs.lease_exactly(&key(1, [3, 82]), ip(IP), 61).is_none(), "it is in use still");
    drop(second);
    assert!(theirs.lease_exactly(&key(1, [3, 82]), ip(IP), 61).is_some());
}

#[test]
fn who_has_a_tuple_is_noted_where_several_take_from_one_range() {
    let space = space();
    let ranges = || Vec::from([Range::of(ip(IP), 60..=65)]);
    let pools = ["a", "b"]
        .map(|name| NatPool::new(space.holder(name), Realm::OUTSIDE, ranges(), no_wait()));
    let before = lease(&pools[0], 1, 1).unwrap();
    let noted = space.note_owners(Realm::OUTSIDE, IpCidr::host(ip(IP)));
    let after = lease(&pools[1], 1, 1).unwrap();
    let owner = |port| noted.owner(ip(IP), Protocol::UDP, port);
    assert_eq!(owner(before.port()), Some(space.holder("a").number()));
    assert_eq!(owner(after.port()), Some(space.holder("b").number()));
    let port = after.port();
    drop(after);
    assert_eq!(owner(port), None);
}

/// Every port of an address, taken by four threads.
#[test]
fn four_threads_take_all_ports_to_the_last_one() {
    let space = space();
    let pool = Arc::new(pool(&space, 1024..=65_535, NatOptions::default()));
    let threads: Vec<_> = (0..4u8)
        .map(|guest| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                (0..=u16::MAX).map_while(|port| lease(&pool, guest, port).ok()).collect::<Vec<_>>()
            })
        })
        .collect();
    let held: Vec<Lease> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    let ports: BTreeSet<u16> = held.iter().map(Lease::port).collect();
    assert_eq!((held.len(), ports.len()), (64_512, 64_512));
    drop(held);
    let usage = pool.usage(pool.ranges().next().unwrap())[1];
    assert_eq!((usage.used, usage.quarantined), (0, 64_512));
}

proptest! {
    /// Whatever is taken, given back, waited for, drained and claimed: a port has one owner, and
    /// what is counted is what there is.
    #[test]
    fn pool_is_a_set(steps in proptest::collection::vec((0u8..8, any::<u16>()), 0..300)) {
        let space = space();
        let range = Range::of(ip(IP), 60..=70);
        let make = |lends: bool| {
            let ranges = if lends { Vec::from([range.clone()]) } else { Vec::new() };
            let hold = Hold { millis: 1_000, ports: 4 };
            of_ranges(&space, ranges, NatOptions { hold, ..NatOptions::default() })
        };
        let (mut pool, mut held, mut claim) = (make(true), Vec::<Lease>::new(), None);
        for (what, number) in steps {
            match what {
                0..3 => {
                    let usage = pool.usage(&range)[1];
                    let empty = pool.is_empty();
                    let known = held.iter().any(|lease| lease.mapping().inside().1 == number % 40);
                    match lease(&pool, 1, number % 40) {
                        Ok(lease) => held.push(lease),
                        Err(_) => prop_assert!(
                            empty
                                || usage.free == 0 && claim.is_some()
                                || usage.free + usage.quarantined == 0 && !known,
                            "{usage:?}"
                        ),
                    }
                }
                3..5 if !held.is_empty() => drop(held.swap_remove(usize::from(number) % held.len())),
                5 => wait(&space, u64::from(number % 600)),
                6 => pool = make(number % 2 == 0),
                7 => {
                    let tuples = Tuples {
                        protocol: Some(Protocol::UDP),
                        ports: 63..=66,
                        ..Tuples::of(Realm::OUTSIDE, range.prefix)
                    };
                    let next = (number % 2 == 0).then(|| space.claim(&space.holder("guest"), tuples));
                    claim = next.map(|claim| claim.unwrap());
                }
                _ => {}
            }
            let tuples: BTreeSet<_> = held.iter().map(external).collect();
            let insides: BTreeSet<_> =
                held.iter().map(|lease| (lease.mapping().inside(), external(lease))).collect();
            prop_assert_eq!(tuples.len(), insides.len(), "a tuple has one endpoint");
            let usage = pool.usage(&range)[1];
            prop_assert_eq!(usage.used as usize, tuples.len());
            prop_assert!(usage.quarantined <= 4);
            let claimed = usage.claimed;
            prop_assert!(usage.used + usage.free + claimed + usage.quarantined >= 11);
        }
        drop((held, claim));
        prop_assert_eq!(space.holder("guest").mapped().0, 0);
    }
}

/// What nobody has ever used of an address is shown as what is used.
#[test]
fn claims_are_shown_whether_or_not_their_address_is_in_use() {
    let space = space();
    let pool = pool(&space, 60..=69, no_wait());
    let tuples = |ports| Tuples {
        protocol: Some(Protocol::UDP),
        ports,
        ..Tuples::of(Realm::OUTSIDE, IpCidr::host(ip(IP)))
    };
    let owner = space.holder("other");
    let _claims = [50..=61, 66..=66].map(|ports| space.claim(&owner, tuples(ports)).unwrap());
    let range = pool.ranges().next().unwrap();
    let shown = || pool.usage(range).map(|usage| (usage.claimed, usage.free));
    assert_eq!(shown(), [(0, 10), (3, 7), (0, 10)]);
    drop(lease(&pool, 1, 1).unwrap());
    assert_eq!(shown(), [(0, 10), (3, 7), (0, 10)]);
}
