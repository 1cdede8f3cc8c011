// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The host's packet loop between real kernels: two loops with a trivial engine, each with a TAP
//! device in a guest's namespace, over a real underlay.
//!
//! Needs root; without it each test says by name that it is skipped.

mod bare;
mod netns;

use netns::{DEVICE, Host, Namespace, Plan, as_root, in_namespaces, planned_hosts, two_hosts};
use opte::outer::GeneveOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process;
use std::thread;
use std::time::{Duration, Instant};
use xde_linux::check;
use xde_linux::coalesce::Joining;
use xde_linux::counters::Counter;
use xde_linux::port::tap::Tap;
use xde_linux::port::{GuestOffloads, PortKind};
use xde_linux::sys::{link, udp};
use xde_linux::underlay::udp::UdpUnderlay;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Addresses of the second guest.
const FAMILIES: [&str; 2] = ["10.0.0.2:7000", "[fd99::2]:7000"];
const TRANSFER: usize = 24 << 20;

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Asks until `done` says so.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Sends a lot from one guest to the other, and holds what arrives against it.
fn transfer([one, two]: &[Host; 2], addr: &str) {
    let addr: SocketAddr = addr.parse().unwrap();
    let sent = pattern(TRANSFER);
    let listener = two.guest.enter(|| TcpListener::bind(addr).unwrap());
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut seen = Vec::new();
            stream.read_to_end(&mut seen).unwrap();
            seen
        });
        let mut stream = one.guest.enter(|| TcpStream::connect_timeout(&addr, PATIENCE).unwrap());
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(receiver.join().unwrap() == sent, "{addr}: other bytes than were sent");
    });
}

/// Counters that say a frame was lost.
const LOSSES: [Counter; 14] = [
    Counter::BadVnetHeader,
    Counter::GuestFrameShort,
    Counter::GuestFrameLong,
    Counter::TapReadError,
    Counter::TapShortWrite,
    Counter::TapRefused,
    Counter::BadRewrite,
    Counter::Uncuttable,
    Counter::UnderlayTooLarge,
    Counter::UnderlayUnreachable,
    Counter::UnderlayBadSource,
    Counter::UnderlaySendError,
    Counter::UnderlayWrongLink,
    Counter::UnderlayTruncated,
];

fn assert_no_losses(hosts: &[Host; 2]) {
    for host in hosts {
        for counter in LOSSES {
            assert_eq!(host.count(counter), 0, "{}", counter.name());
        }
    }
}

#[test]
fn streams_arrive_as_sent_with_offloads() {
    as_root("streams_arrive_as_sent_with_offloads", || {
        let hosts = two_hosts(9000, GuestOffloads::All);
        FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
        assert_no_losses(&hosts);
        let [one, two] = &hosts;
        // Super-frames came from the guest, left in runs, and were joined again.
        let frames = one.count(Counter::GuestRxFrames);
        let datagrams = one.count(Counter::UnderlayTxDatagrams);
        assert!(datagrams > 4 * frames, "{frames} frames were cut into {datagrams} datagrams");
        assert!(datagrams > 4 * one.count(Counter::UnderlayTxRuns));
        assert!(two.count(Counter::UnderlayRxMerged) > datagrams / 2);
    });
}

#[test]
fn streams_arrive_as_sent_without_offloads() {
    as_root("streams_arrive_as_sent_without_offloads", || {
        let hosts = two_hosts(9000, GuestOffloads::None);
        FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
        assert_no_losses(&hosts);
        let [one, _] = &hosts;
        let frames = one.count(Counter::GuestRxFrames);
        assert_eq!(one.count(Counter::UnderlayTxDatagrams), frames, "nothing was to be cut");
    });
}

#[test]
fn a_larger_underlay_carries_several_segments_in_one() {
    as_root("a_larger_underlay_carries_several_segments_in_one", || {
        let options = GeneveOptions::new(&[0x01, 0x29, 2, 1, 0, 0, 0, 0]).unwrap();
        for underlay_mtu in [9000, 1600] {
            let hosts =
                planned_hosts(Plan { options, ..Plan::new(underlay_mtu, GuestOffloads::All) });
            FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
            assert_no_losses(&hosts);
            let datagrams = hosts[0].count(Counter::UnderlayTxDatagrams);
            let segments = FAMILIES.len() * TRANSFER / 1448;
            assert_eq!(datagrams < segments as u64 / 3, underlay_mtu == 9000, "{datagrams}");
        }
    });
}

#[test]
fn a_path_smaller_than_its_first_link_gets_the_guests_own_segments() {
    as_root("a_path_smaller_than_its_first_link_gets_the_guests_own_segments", || {
        let options = GeneveOptions::new(&[0x01, 0x29, 2, 1, 0, 0, 0, 0]).unwrap();
        let hosts = planned_hosts(Plan { options, ..Plan::new(9000, GuestOffloads::All) });
        for (host, other) in hosts.iter().zip(["fd00::2", "fd00::1"]) {
            host.namespace.ip(&format!("route add {other}/128 dev u0 mtu lock 1600"));
        }
        FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
        assert!(hosts[0].count(Counter::UnderlayTooLarge) > 0, "nothing was too large at first");
    });
}

#[test]
fn streams_arrive_as_sent_over_links() {
    in_namespaces("streams_arrive_as_sent_over_links", || {
        let plan = Plan { ports: PortKind::Link, ..Plan::new(9000, GuestOffloads::All) };
        let hosts = planned_hosts(plan);
        FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
        assert_no_losses(&hosts);
        let [one, two] = &hosts;
        let frames = one.count(Counter::GuestRxFrames);
        let datagrams = one.count(Counter::UnderlayTxDatagrams);
        assert!(datagrams > 4 * frames, "{frames} frames were cut into {datagrams} datagrams");
        assert!(two.count(Counter::UnderlayRxMerged) > datagrams / 2);
    });
}

#[test]
fn a_guest_behind_a_link_does_not_reach_the_host_itself() {
    in_namespaces("a_guest_behind_a_link_does_not_reach_the_host_itself", || {
        let plan = Plan { ports: PortKind::Link, ..Plan::new(9000, GuestOffloads::All) };
        let [one, two] = planned_hosts(plan);
        let host = one.namespace.enter(|| UdpSocket::bind("0.0.0.0:9").unwrap());
        host.set_nonblocking(true).unwrap();
        one.namespace.ip("addr add 10.66.0.1/32 dev lo");
        let mac = one.namespace.mac(DEVICE);
        one.guest.ip(&format!("route add 10.66.0.1 dev {DEVICE}"));
        one.guest.ip(&format!("neigh add 10.66.0.1 lladdr {mac} dev {DEVICE}"));
        let addr: SocketAddr = FAMILIES[0].parse().unwrap();
        let receiver = two.guest.enter(|| UdpSocket::bind(addr).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = one.guest.enter(|| UdpSocket::bind("10.0.0.1:0").unwrap());
        sender.send_to(b"to the host", "10.66.0.1:9").unwrap();
        // What was sent later has arrived elsewhere, so the first is where it ends.
        sender.send_to(b"to the guest", addr).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 12);
        assert_eq!(host.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn links_need_no_rights_outside_of_a_user_namespace() {
    let name = "links_need_no_rights_outside_of_a_user_namespace";
    let unshare = |script: &str| {
        let all = ["--user", "--map-root-user", "--net", "--mount", "sh", "-c", script];
        process::Command::new("unshare").args(all).output().unwrap()
    };
    if !unshare("true").status.success() {
        return println!("{name}: skipped, this user may not make user namespaces");
    }
    let this = std::env::current_exe().unwrap();
    let test = "--exact streams_arrive_as_sent_over_links --nocapture";
    // Names of network namespaces are files in /run.
    let output = unshare(&format!("mount -t tmpfs none /run && exec '{}' {test}", this.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed") && !said.contains("skipped"), "{said}");
}

#[test]
fn streams_arrive_as_sent_by_several_workers() {
    as_root("streams_arrive_as_sent_by_several_workers", || {
        for ports in [PortKind::Tap, PortKind::Link] {
            let plan = Plan { ports, workers: 3, ..Plan::new(9000, GuestOffloads::All) };
            let hosts = planned_hosts(plan);
            FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
            assert_no_losses(&hosts);
        }
    });
}

#[test]
fn a_flow_has_one_outer_source_port_whichever_worker_sends() {
    as_root("a_flow_has_one_outer_source_port_whichever_worker_sends", || {
        let namespace = Namespace::new("h1");
        let underlays = namespace.enter(|| UdpUnderlay::open(&[], check::joining(), 3).unwrap());
        let ports: Vec<_> = underlays.iter().map(|u| u.source_ports().unwrap()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|of_worker| *of_worker == ports[0]));
        // Another process cannot share the Geneve port unless it is asked in.
        let other = namespace.enter(|| UdpUnderlay::open(&[], check::joining(), 3).unwrap_err());
        assert_eq!(other.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn equal_datagrams_are_joined_and_arrive_apart() {
    as_root("equal_datagrams_are_joined_and_arrive_apart", || {
        for ports in [PortKind::Tap, PortKind::Link] {
            let hosts = planned_hosts(Plan { ports, ..Plan::new(9000, GuestOffloads::All) });
            let [one, two] = &hosts;
            for addr in FAMILIES {
                let addr: SocketAddr = addr.parse().unwrap();
                let any = if addr.is_ipv4() { "10.0.0.1:0" } else { "[fd99::1]:0" };
                let receiver = two.guest.enter(|| UdpSocket::bind(addr).unwrap());
                receiver.set_read_timeout(Some(PATIENCE)).unwrap();
                let sender = one.guest.enter(|| UdpSocket::bind(any).unwrap());
                // One super-frame of 40 datagrams, the last one shorter; it must be cut to cross.
                udp::set_option(&sender, udp::SocketOption::SEND_RUNS, 100).unwrap();
                let sent = pattern(39 * 100 + 7);
                sender.send_to(&sent, addr).unwrap();
                let (mut buffer, mut seen) = ([0; 9000], Vec::new());
                for number in 1..=40 {
                    let len = receiver.recv(&mut buffer).unwrap();
                    assert_eq!(len, if number == 40 { 7 } else { 100 });
                    seen.extend_from_slice(&buffer[..len]);
                }
                assert!(seen == sent);
            }
            assert_no_losses(&hosts);
            // What has been sent is counted after it may have arrived.
            until("all are counted", || one.count(Counter::UnderlayTxDatagrams) >= 80);
            if check::joining() == Joining::TcpAndUdp {
                until("they are joined", || two.count(Counter::UnderlayRxMerged) >= 78);
            }
        }
    });
}

#[test]
fn a_guest_behind_a_bridge_is_reached() {
    as_root("a_guest_behind_a_bridge_is_reached", || {
        let mut hosts = two_hosts(9000, GuestOffloads::All);
        let machine = Namespace::new("vm");
        // As a virtual machine is attached: its own device and the port's in one bridge.
        let bridge = &hosts[1].guest;
        bridge.ip("addr flush dev g0");
        bridge.ip("link set g0 addrgenmode none");
        bridge.ip("link add br0 type bridge");
        bridge.ip(&format!("link add vm0 type veth peer name eth0 netns {}", machine.name()));
        for link in ["g0", "vm0"] {
            bridge.ip(&format!("link set {link} master br0 up"));
        }
        bridge.ip("link set br0 up");
        machine.ip("link set eth0 up");
        machine.ip("addr add 10.0.0.2/24 dev eth0");
        machine.ip("addr add fd99::2/64 dev eth0 nodad");
        let bridge = std::mem::replace(&mut hosts[1].guest, machine);
        FAMILIES.iter().for_each(|addr| transfer(&hosts, addr));
        assert_no_losses(&hosts);
        drop(bridge);
    });
}

#[test]
fn datagrams_of_all_sizes_arrive_as_sent() {
    as_root("datagrams_of_all_sizes_arrive_as_sent", || {
        let hosts = two_hosts(9000, GuestOffloads::All);
        let [one, two] = &hosts;
        for addr in FAMILIES {
            let addr: SocketAddr = addr.parse().unwrap();
            let any = if addr.is_ipv4() { "10.0.0.1:0" } else { "[fd99::1]:0" };
            let receiver = two.guest.enter(|| UdpSocket::bind(addr).unwrap());
            let sender = one.guest.enter(|| UdpSocket::bind(any).unwrap());
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut buffer = [0; 9000];
            for len in [0, 1, 2, 3, 17, 18, 100, 511, 512, 513, 1400, 1452] {
                let sent = pattern(len);
                sender.send_to(&sent, addr).unwrap();
                let len = receiver.recv(&mut buffer).unwrap();
                assert_eq!(buffer[..len], sent);
            }
        }
        assert_no_losses(&hosts);
    });
}

#[test]
fn a_frame_too_large_for_the_underlay_is_counted() {
    as_root("a_frame_too_large_for_the_underlay_is_counted", || {
        let [one, two] = two_hosts(1500, GuestOffloads::All);
        let addr: SocketAddr = FAMILIES[0].parse().unwrap();
        let receiver = two.guest.enter(|| UdpSocket::bind(addr).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let sender = one.guest.enter(|| UdpSocket::bind("10.0.0.1:0").unwrap());
        sender.send_to(&[1; 1472], addr).unwrap();
        sender.send_to(&[2; 1300], addr).unwrap();
        let mut buffer = [0; 2000];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 1300, "only the second one fits");
        until("the first one is counted", || one.count(Counter::UnderlayTooLarge) == 1);
    });
}

#[test]
fn datagrams_over_another_link_are_not_taken() {
    as_root("datagrams_over_another_link_are_not_taken", || {
        let [one, _two] = two_hosts(9000, GuestOffloads::All);
        // The host's own loopback is not a link of the underlay.
        one.namespace.enter(|| {
            let socket = UdpSocket::bind("[::1]:0").unwrap();
            socket.send_to(&[0; 100], "[::1]:6081").unwrap();
        });
        // The engine would fail on a datagram that is not from the other host.
        until("it is counted", || one.count(Counter::UnderlayWrongLink) == 1);
    });
}

#[test]
fn a_device_lives_as_long_as_its_port() {
    as_root("a_device_lives_as_long_as_its_port", || {
        let [one, two] = two_hosts(9000, GuestOffloads::All);
        let index = || two.guest.enter(|| link::index(DEVICE));
        assert!(index().is_ok());
        two.crew.remove_port(bare::PORT).unwrap();
        // Other tests of this process start programs, which have the device open for a moment.
        until("the device is gone", || {
            index().is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
        });
        // Frames for it end with a name.
        let sender = one.guest.enter(|| UdpSocket::bind("[fd99::1]:0").unwrap());
        sender.send_to(b"who is there?", FAMILIES[1]).unwrap();
        until("the frame is counted", || two.count(Counter::NoSuchPort) > 0);
        // The name is free again, but only once.
        two.namespace.enter(|| {
            let tap = Tap::create(DEVICE, 1500, GuestOffloads::All, 1).unwrap();
            let error = Tap::create(DEVICE, 1500, GuestOffloads::All, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            drop(tap);
        });
    });
}

#[test]
fn a_device_that_others_removed_is_noticed_once() {
    as_root("a_device_that_others_removed_is_noticed_once", || {
        let [one, two] = two_hosts(9000, GuestOffloads::All);
        two.guest.ip("link del g0");
        until("the loss is counted", || two.count(Counter::TapReadError) == 1);
        let sender = one.guest.enter(|| UdpSocket::bind("[fd99::1]:0").unwrap());
        sender.send_to(b"who is there?", FAMILIES[1]).unwrap();
        until("the frame is counted", || two.count(Counter::NoSuchPort) > 0);
        assert_eq!(two.count(Counter::TapReadError), 1);
        two.crew.remove_port(bare::PORT).unwrap();
    });
}

#[test]
fn frames_for_a_guest_that_is_down_are_counted() {
    as_root("frames_for_a_guest_that_is_down_are_counted", || {
        let [one, two] = two_hosts(9000, GuestOffloads::All);
        two.guest.ip("link set g0 down");
        let sender = one.guest.enter(|| UdpSocket::bind("[fd99::1]:0").unwrap());
        sender.send_to(b"who is there?", FAMILIES[1]).unwrap();
        until("the frame is counted", || two.count(Counter::TapDown) > 0);
    });
}

#[test]
fn without_an_underlay_frames_are_counted() {
    as_root("without_an_underlay_frames_are_counted", || {
        let [one, _two] = two_hosts(9000, GuestOffloads::All);
        one.crew.clear_underlay().unwrap();
        until("the port is free", || one.namespace.enter(|| UdpSocket::bind("[::]:6081").is_ok()));
        let sender = one.guest.enter(|| UdpSocket::bind("[fd99::1]:0").unwrap());
        sender.send_to(b"who is there?", FAMILIES[1]).unwrap();
        until("the frame is counted", || one.count(Counter::NoUnderlay) > 0);
    });
}
