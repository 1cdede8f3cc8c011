// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A real boundary process between two networks: the outside is a network namespace whose kernel
//! pings, resolves and connects; the inside is one with a scripted hypervisor, whose guest is a
//! small TCP/IP stack in this process.
//!
//! Needs root; without it each test says by name that it is skipped.

mod hypervisor;
mod lab;
mod probe;

use hypervisor::{DOWNLOAD_LEN, Hypervisor};
use lab::{FAMILIES, Lab, PATIENCE, pattern};
use opte_api::Vni;
use oxide_vpc_api::BoundaryNat;
use oxide_vpc_api::request::{AddBoundaryNat, ListBoundaryNat, RemBoundaryNat, Removal};
use probe::{Icmp, IcmpEvent};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, UdpSocket};

/// Runs `test` in a lab, or says that it is skipped.
fn in_lab(name: &str, test: impl FnOnce(&mut Lab)) {
    match Lab::open() {
        Some(mut lab) => test(&mut lab),
        None => println!("{name}: skipped, it needs root for network namespaces"),
    }
}

#[test]
fn outside_pings_and_traces_a_guest() {
    in_lab("outside_pings_and_traces_a_guest", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        for family in FAMILIES {
            let mut icmp = lab.outside.run(|| Icmp::open(family.guest));
            assert_eq!(icmp.ping(family.guest, 64), IcmpEvent::Reply { from: family.guest });
            // The boundary is the only hop on the way.
            let hop = IcmpEvent::TimeExceeded { from: family.edge };
            assert_eq!(icmp.ping(family.guest, 1), hop);
            assert_eq!(icmp.ping(family.guest, 2), IcmpEvent::Reply { from: family.guest });
        }
        assert_eq!(lab.counter("icmp_time_exceeded"), 2);
    });
}

#[test]
fn neighbours_are_told_of_the_table_only() {
    in_lab("neighbours_are_told_of_the_table_only", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        for family in FAMILIES {
            lab.outside.run(|| {
                let socket = UdpSocket::bind(SocketAddr::new(family.peer, 0)).unwrap();
                socket.send_to(b"anybody?", SocketAddr::new(family.nobody, 9)).unwrap();
            });
            // Asked for later, answered: so the question before it was heard and left alone.
            let mut icmp = lab.outside.run(|| Icmp::open(family.guest));
            assert_eq!(icmp.ping(family.guest, 64), IcmpEvent::Reply { from: family.guest });
            let mac = lab.edge_mac();
            assert!(lab.outside.neighbour(family.guest).contains(&mac), "{mac}");
            assert!(!lab.outside.neighbour(family.nobody).contains("lladdr"));
        }
        assert!(lab.counter("arp_replies") >= 1);
        assert!(lab.counter("neighbour_advertisements") >= 1);
    });
}

/// Sends the guest the pattern and returns what it says about it.
fn upload(guest: IpAddr) -> [u8; 16] {
    let mut stream = lab::connect(SocketAddr::new(guest, hypervisor::COUNT_PORT));
    stream.write_all(&pattern(DOWNLOAD_LEN)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = [0; 16];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn tcp_carries_megabytes_both_ways() {
    in_lab("tcp_carries_megabytes_both_ways", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        for family in FAMILIES {
            let (page, echoed) = lab.outside.run(|| {
                let server = SocketAddr::new(family.guest, hypervisor::DOWNLOAD_PORT);
                let mut download = lab::connect(server);
                let mut page = Vec::new();
                download.read_to_end(&mut page).unwrap();
                (page, upload(family.guest))
            });
            assert!(page == pattern(DOWNLOAD_LEN), "{} bytes, or other ones", page.len());
            let expected = hypervisor::Digest::of(&pattern(DOWNLOAD_LEN)).to_bytes();
            assert_eq!(echoed, expected);
        }
        // What the outside kernel sent as super-frames went on as segments.
        assert_eq!(lab.counter("drop_offload"), 0);
        assert_eq!(lab.counter("uncuttable"), 0);
        // The kernel's word about the next device was asked for, and taken.
        assert!(lab.counter("outside_tx_frames") > lab.counter("outside_tx_packets"));
    });
}

#[test]
fn outside_hosts_learn_the_underlay_mtu() {
    in_lab("outside_hosts_learn_the_underlay_mtu", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        lab.edge.ip(&["link", "set", "under", "mtu", "1400"]);
        for family in FAMILIES {
            let answer = lab.outside.run(|| upload(family.guest));
            assert_eq!(answer, hypervisor::Digest::of(&pattern(DOWNLOAD_LEN)).to_bytes());
        }
        assert!(lab.counter("icmp_too_big") >= 2);
    });
}

#[test]
fn a_boundary_ends_when_its_outside_link_is_gone() {
    in_lab("a_boundary_ends_when_its_outside_link_is_gone", |lab| {
        lab.edge.ip(&["link", "del", "out"]);
        let status = lab.wait();
        assert!(!status.success(), "{status}");
        assert!(!lab.socket().exists());
    });
}

#[test]
fn udp_is_echoed_with_right_checksums() {
    in_lab("udp_is_echoed_with_right_checksums", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        for family in FAMILIES {
            lab.outside.run(|| {
                let socket = lab::udp(SocketAddr::new(family.peer, 0));
                socket.connect(SocketAddr::new(family.guest, hypervisor::ECHO_PORT)).unwrap();
                for len in [0, 1, 100, 1400] {
                    let sent = pattern(len);
                    socket.send(&sent).unwrap();
                    let mut answer = [0; 2000];
                    let got = socket.recv(&mut answer).unwrap();
                    assert_eq!(answer[..got], sent);
                }
            });
        }
    });
}

#[test]
fn guests_connect_to_the_outside() {
    in_lab("guests_connect_to_the_outside", |lab| {
        let hypervisor = Hypervisor::start(lab);
        for family in FAMILIES {
            let local = SocketAddr::new(family.peer, 0);
            let listener = lab.outside.run(|| TcpListener::bind(local).unwrap());
            hypervisor.connect(listener.local_addr().unwrap());
            lab::wait_readable(&listener);
            let (mut stream, from) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut sent = Vec::new();
            stream.read_to_end(&mut sent).unwrap();
            assert!(sent == pattern(DOWNLOAD_LEN), "{} bytes, or other ones", sent.len());
            assert_eq!(from.ip(), family.guest);
        }
        assert!(lab.counter("to_outside_packets") > 0);
    });
}

#[test]
fn guests_see_the_boundary_as_a_hop_and_learn_the_outside_mtu() {
    in_lab("guests_see_the_boundary_as_a_hop_and_learn_the_outside_mtu", |lab| {
        let hypervisor = Hypervisor::start(lab);
        for (index, family) in FAMILIES.into_iter().enumerate() {
            let udp = |hops, len| hypervisor::udp(family.guest, family.peer, hops, len);
            let exceeded = [[11, 0], [3, 0]][index];
            assert_eq!(hypervisor.icmp_answer(udp(1, 10)), (family.edge, exceeded));
            let too_big = [[3, 4], [2, 0]][index];
            assert_eq!(hypervisor.icmp_answer(udp(64, 3000)), (family.edge, too_big));
        }
        assert_eq!(lab.counter("icmp_too_big"), 2);
    });
}

#[test]
fn a_host_cannot_send_from_what_it_does_not_own() {
    in_lab("a_host_cannot_send_from_what_it_does_not_own", |lab| {
        let hypervisor = Hypervisor::start(lab);
        for family in FAMILIES {
            let before = lab.counter("drop_foreign_source");
            let local = SocketAddr::new(family.peer, hypervisor::UDP_PORT);
            let socket = lab.outside.run(|| lab::udp(local));
            hypervisor.send(hypervisor::udp(family.nobody, family.peer, 64, 10));
            hypervisor.send(hypervisor::udp(family.guest, family.peer, 64, 11));
            let (len, from) = socket.recv_from(&mut [0; 100]).unwrap();
            assert_eq!((len, from.ip()), (11, family.guest));
            assert_eq!(lab.counter("drop_foreign_source"), before + 1);
        }
    });
}

#[test]
fn entries_are_listed_and_removed() {
    in_lab("entries_are_listed_and_removed", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        let family = FAMILIES[0];
        let entries = lab.request(&ListBoundaryNat {});
        assert_eq!(entries.len(), FAMILIES.len());
        let entry = entries[0];
        let more = BoundaryNat { ip: family.nobody, vni: Vni::new(7).unwrap(), ..entry };
        lab.request(&AddBoundaryNat { entry: more });
        assert_eq!(lab.request(&ListBoundaryNat {}).len(), FAMILIES.len() + 1);
        assert_eq!(lab.request(&RemBoundaryNat { entry: more }), Removal::Removed);
        assert_eq!(lab.request(&RemBoundaryNat { entry: more }), Removal::Absent);
        assert_eq!(lab.request(&ListBoundaryNat {}), entries);
    });
}

#[test]
fn a_changed_address_is_noticed_and_a_signal_ends_it_cleanly() {
    in_lab("a_changed_address_is_noticed_and_a_signal_ends_it_cleanly", |lab| {
        let _hypervisor = Hypervisor::start(lab);
        let family = FAMILIES[0];
        let other: IpAddr = "203.0.113.2".parse().unwrap();
        lab.edge.ip(&["addr", "del", "203.0.113.1/24", "dev", "out"]);
        lab.edge.ip(&["addr", "add", "203.0.113.2/24", "dev", "out"]);
        let mut icmp = lab.outside.run(|| Icmp::open(family.guest));
        // The watch runs beside: it hears of the change soon, not at once.
        let hop = IcmpEvent::TimeExceeded { from: other };
        lab::until("the new address answers", || icmp.ping(family.guest, 1) == hop);
        let status = lab.stop();
        assert!(status.success(), "{status}");
        assert!(!lab.socket().exists());
    });
}
