// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! An answer that is larger than its caller's room is fetched; its command is not carried out
//! again. Through the driver, and through the client.

use opte::frame::FlatFrame;
use opte_api::frame::{
    API_VERSION, FETCH, Fetch, HEADER_LEN, Header, Kept, MAX_REQUEST, MAX_RESPONSE, Request,
    SMALLEST_ROOM, Status, decode, decode_answer, encode_fetch, encode_request,
};
use opte_api::{OpteError, Protocol};
use opte_ioctl::OpteHdl;
use opte_tests::hypervisor::{Agreeable, Hypervisor};
use opte_tests::packets::{Body, Packet};
use opte_tests::setting::{Guest, add_guest, add_peer};
use oxide_vpc_api::dump::KilledFlows;
use oxide_vpc_api::filter::FlowFilter;
use oxide_vpc_api::request::{DumpCounters, DumpUft, KillFlows, ListPorts};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
const FLOWS: u64 = 40;
const ROOM: usize = 200;

/// A host with flows to be removed: that can be done once only.
fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(3));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, Guest(7), 1);
    for port in 1..=FLOWS as u16 {
        let body = Body::Udp { ports: [port, 53], checksum: true };
        let packet = Packet::new(GUEST.macs(), [GUEST.ip(true), Guest(7).ip(true)], body);
        host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
    }
    host
}

fn kill() -> KillFlows {
    let filter = FlowFilter { protocol: Some(Protocol::UDP), ..FlowFilter::default() };
    KillFlows { port: GUEST.port(), filter, list: 1000 }
}

fn ask(host: &mut Hypervisor, frame: &[u8], room: usize) -> (Header, Vec<u8>) {
    let (head, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
    let header = Header::from_bytes(*head, MAX_REQUEST).unwrap();
    let answer = host.driver.control_within(&mut Agreeable, host.now, header, body, room);
    assert!(answer.len() <= room.max(SMALLEST_ROOM as usize), "it fits");
    let (head, body) = answer.split_first_chunk().unwrap();
    (Header::from_bytes(*head, MAX_RESPONSE).unwrap(), body.to_vec())
}

fn counter(host: &mut Hypervisor, wanted: &str) -> u64 {
    let sets = host.request(&DumpCounters { port: None }).unwrap();
    let all = sets.iter().flat_map(|set| &set.counters);
    all.filter(|counter| counter.name == wanted).map(|counter| counter.value).sum()
}

#[test]
fn the_driver_keeps_what_does_not_fit() {
    let mut host = host();
    let (header, body) = ask(&mut host, &encode_request(&kill()).unwrap(), ROOM);
    assert_eq!((header.version, header.code), (API_VERSION, Status::Kept as u16));
    let Kept { ticket, len } = decode(&body).unwrap();
    assert_eq!(counter(&mut host, "flows_cleared"), FLOWS, "it was carried out");

    let fetch = encode_fetch(Fetch { ticket }).unwrap();
    let (header, _) = ask(&mut host, &fetch, len as usize - 1);
    assert_eq!(header.code, Status::Kept as u16, "too little room is no loss");
    let (header, body) = ask(&mut host, &fetch, len as usize);
    let killed: KilledFlows = decode_answer(header, &body).unwrap();
    assert_eq!((killed.count, killed.first.len() as u64), (FLOWS, FLOWS));
    assert_eq!(counter(&mut host, "flows_cleared"), FLOWS, "and not again");
    assert_eq!(counter(&mut host, "answers_kept"), 1);

    let (header, body) = ask(&mut host, &fetch, ROOM);
    let gone = decode_answer::<()>(header, &body).unwrap_err();
    assert_eq!(gone, OpteError::not_found("kept answer", ticket));
}

#[test]
fn without_any_room_nothing_is_carried_out() {
    let mut host = host();
    let frame = encode_request(&kill()).unwrap();
    let (header, body) = ask(&mut host, &frame, SMALLEST_ROOM as usize - 1);
    let error = decode_answer::<()>(header, &body).unwrap_err();
    assert_eq!(error, OpteError::TooLarge { got: SMALLEST_ROOM, limit: SMALLEST_ROOM - 1 });
    assert_eq!(host.request(&DumpUft::of(GUEST.port())).unwrap().count, FLOWS as u32);
}

#[test]
fn answers_that_nobody_fetches_have_an_end() {
    let mut host = host();
    for _ in 0..40 {
        let frame = encode_request(&DumpUft::of(GUEST.port())).unwrap();
        assert_eq!(ask(&mut host, &frame, ROOM).0.code, Status::Kept as u16);
    }
    assert_eq!(counter(&mut host, "answers_kept"), 40);
    assert_eq!(counter(&mut host, "answers_lost"), 24);
}

/// Serves one client with little room for each answer, but as much as it takes for one that is
/// fetched. Answers the host, and how often each command came.
fn serve(host: Hypervisor, mut client: UnixStream) -> (Hypervisor, Vec<u16>) {
    let mut codes = Vec::new();
    let mut head = [0; HEADER_LEN];
    while client.read_exact(&mut head).is_ok() {
        let header = Header::from_bytes(head, MAX_REQUEST).unwrap();
        let mut body = vec![0; header.len as usize];
        client.read_exact(&mut body).unwrap();
        codes.push(header.code);
        let room = if header.code == FETCH { usize::MAX } else { ROOM };
        let answer = host.driver.control_within(&mut Agreeable, host.now, header, &body, room);
        client.write_all(&answer).unwrap();
    }
    (host, codes)
}

#[test]
fn the_client_fetches_and_does_not_ask_again() {
    let path = std::env::temp_dir().join(format!("opte-short-buffer-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let serving = thread::spawn(move || serve(host(), listener.accept().unwrap().0));
    let mut xde = OpteHdl::open_at(&path).unwrap();
    let killed = xde.request(&kill()).unwrap();
    assert_eq!((killed.count, killed.first.len() as u64), (FLOWS, FLOWS));
    assert_eq!(xde.request(&ListPorts {}).unwrap().len(), 1);
    drop(xde);
    let (mut host, codes) = serving.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(codes.iter().filter(|code| **code == KillFlows::CODE).count(), 1);
    assert_eq!(codes.get(1), Some(&FETCH));
    assert_eq!(counter(&mut host, "flows_cleared"), FLOWS);
}
