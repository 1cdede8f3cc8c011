// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Saved ports of any bytes, with right and wrong checksums.

use super::take;
use crate::hypervisor::Hypervisor;
use crate::moving;
use crate::packets::{Body, Packet};
use crate::setting::{Guest, add_boundary, add_guest, outside};
use opte::frame::FlatFrame;
use opte::tcp::TcpFlags;
use oxide_vpc_api::request::{DeletePort, ListPorts};
use oxide_vpc_api::saved::{Record, encode, header};
use xde::driver::DriverOptions;
use xde::host::PortId;

const GUEST: Guest = Guest(5);
/// Bytes in front of the body of a record.
const RECORD_HEADER: usize = 8;

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 100, ..DriverOptions::new(7) });
    add_boundary(&mut host);
    host
}

/// Plays `data` as a saved port: as it is if its first byte is even, else as bodies of records,
/// each behind two bytes of length, which get their checksums here.
pub fn saved(data: &[u8]) {
    let Some((kind, mut data)) = data.split_first() else { return };
    let mut file = header();
    if kind % 2 == 0 {
        file = data.to_vec();
    } else {
        while let [a, b, ..] = *data {
            take(&mut data, 2);
            let body = take(&mut data, usize::from(u16::from_be_bytes([a, b])));
            file.extend_from_slice(&with_sum(body));
        }
    }
    let mut host = host();
    match moving::restore(&mut host, &file, None) {
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            assert_eq!(host.request(&ListPorts {}), Ok(vec![]), "refused: {refusal}");
        }
        Ok(restored) => {
            // What was taken is said again in the same way, and can be taken away.
            let once = moving::save(&mut host, &restored.port).expect("a restored port");
            host.request(&DeletePort { name: restored.port }).expect("a port");
            let again = moving::restore(&mut host, &once, None).expect("what we saved");
            let twice = moving::save(&mut host, &again.port).expect("a restored port");
            assert_eq!(once, twice);
        }
    }
}

fn with_sum(body: &[u8]) -> Vec<u8> {
    let mut record = (body.len() as u32).to_be_bytes().to_vec();
    record.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// A good saved port in both shapes.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut host = host();
    add_guest(&mut host, GUEST, 0);
    for (ipv4, body) in [
        (true, Body::Udp { ports: [1000, 80], checksum: true }),
        (false, Body::Tcp { ports: [1000, 80], flags: TcpFlags::SYN, numbers: [7, 0] }),
    ] {
        let packet = Packet::new(GUEST.macs(), [GUEST.ip(ipv4), outside(ipv4)], body);
        host.from_guest(PortId(0), FlatFrame::new(packet.bytes()));
    }
    let file = moving::save(&mut host, &GUEST.port()).expect("a running port");
    let mut plain = vec![0];
    plain.extend_from_slice(&file);
    let mut bodies = vec![1];
    let mut rest = &file[header().len()..];
    while let Some((len, _)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        bodies.extend_from_slice(&(len as u16).to_be_bytes());
        bodies.extend_from_slice(&rest[RECORD_HEADER..RECORD_HEADER + len]);
        rest = &rest[RECORD_HEADER + len..];
    }
    let mut empty = vec![0];
    empty.extend(header());
    empty.extend(encode(&Record::End(0)).expect("a small record"));
    vec![plain, bodies, empty]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_what_they_should_be() {
        let mut host = host();
        let seeds = seeds();
        assert!(moving::restore(&mut host, &seeds[0][1..], None).is_ok());
        seeds.iter().for_each(|seed| saved(seed));
    }
}
