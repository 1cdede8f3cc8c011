// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A port as it is kept in a file, to live on elsewhere: what it was told, its flows, their leases
//! and TCP states.
//!
//! ```text
//! +----------+---------+   +--------+-------+---------------+
//! | OPTESAVE | version |   | length | CRC32 | postcard body |  ...
//! +----------+---------+   +--------+-------+---------------+
//!      8          2            4        4        length
//! ```
//!
//! Numbers are big-endian. The first record is the port, then come flows, and the last one tells
//! how many there are. The bytes say the same on every host; times are counted from when the port
//! was paused. Any change of what is in a record steps the version.

use crate::{FirewallRule, GatewayMap, PortConfig, PortName, Prefixes, WeightedRoute};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use opte_api::{Direction, FlowId, MacAddr, OpteError};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"OPTESAVE";
/// Version of the form. What another version has written is refused by name.
pub const SAVED_VERSION: u16 = 1;
/// Most bytes of a saved port.
pub const MAX_SAVED: u64 = 256 << 20;
/// Bytes that a client may stage at once.
pub const STAGE_BYTES: usize = 1 << 20;
/// Flows that are told at once.
pub const FLOWS_AT_ONCE: usize = 4096;
const RECORD_HEADER: usize = 8;

/// What a port was told.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SavedPort {
    /// Its name.
    pub name: PortName,
    /// What it was created with, as it is now.
    pub config: PortConfig,
    /// Which gateways each external address serves.
    pub gateways: GatewayMap,
    /// What the guest may use besides its own addresses.
    pub prefixes: Prefixes,
    /// Firewall rules and their numbers.
    pub rules: Vec<(u64, FirewallRule)>,
    /// Routes and their shares.
    pub routes: Vec<WeightedRoute>,
    /// Number of the routes and addresses, if they were told together with one.
    pub revision: Option<u64>,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SavedSide {
    /// The key of packets that go this way.
    pub flow: FlowId,
    /// Forwarded packets.
    pub packets: u64,
    /// Bytes of their inner frames.
    pub bytes: u64,
    /// Milliseconds since the last of them.
    pub idle_ms: u64,
}

/// What one side of a TCP connection has said.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SavedTcpSide {
    /// Sequence number of its SYN.
    pub start: u32,
    /// After the last octet it sent.
    pub end: u32,
    /// What it expects next.
    pub ack: u32,
    /// Which of these are known, and what else: the bits of the engine's tracker.
    pub known: u8,
}

/// State of a TCP connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SavedTcp {
    /// The guest and its peer.
    pub sides: [SavedTcpSide; 2],
    /// Number of a SYN on the live connection.
    pub offer: u32,
    /// Number of the state, and of the one before a reset.
    pub states: [u8; 2],
}

/// How the keys of a flow differ.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub enum SavedNat {
    /// They do not.
    None,
    /// One address stands for another.
    Address,
    /// So do a port or an echo identifier.
    Port,
}

/// A flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SavedFlow {
    /// Which way it was opened.
    pub opened: Direction,
    /// Destination and source MAC address of the packet that opened it.
    pub macs: [MacAddr; 2],
    /// Origin of that packet, as the engine has it in one word.
    pub mark: u32,
    /// What leaves the guest, and what reaches it.
    pub sides: [SavedSide; 2],
    /// How it is translated.
    pub nat: SavedNat,
    /// It has its external port on loan.
    pub leased: bool,
    /// State of the connection, if it is one of TCP.
    pub tcp: Option<SavedTcp>,
}

/// One part of a saved port.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub enum Record {
    /// What it was told. The first one.
    Port(Box<SavedPort>),
    /// Some of its flows.
    Flows(Vec<SavedFlow>),
    /// Number of all flows. The last one.
    End(u64),
}

/// What comes before the first record.
pub fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&SAVED_VERSION.to_be_bytes());
    bytes
}

/// A record with its length and checksum.
pub fn encode(record: &Record) -> Result<Vec<u8>, OpteError> {
    let body = postcard::to_allocvec(record)
        .map_err(|error| OpteError::BadRequest(format!("a saved port: {error}")))?;
    let mut bytes = Vec::with_capacity(RECORD_HEADER + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The port and the flows in `bytes`, all of which must be what [`header`] and [`encode`] make.
pub fn decode(bytes: &[u8]) -> Result<(Box<SavedPort>, Vec<SavedFlow>), OpteError> {
    let bad = |why: &str| OpteError::invalid("saved port", why);
    let (magic, rest) = bytes.split_first_chunk().ok_or(bad("it is cut short"))?;
    if magic != MAGIC {
        return Err(bad("it does not begin with OPTESAVE"));
    }
    let (version, mut rest) = rest.split_first_chunk().ok_or(bad("it is cut short"))?;
    let version = u16::from_be_bytes(*version);
    if version != SAVED_VERSION {
        let why = format!("it has version {version}, and this host reads {SAVED_VERSION}");
        return Err(bad(&why));
    }
    let Record::Port(port) = next(&mut rest)? else { return Err(bad("no port comes first")) };
    let mut flows = Vec::new();
    loop {
        match next(&mut rest)? {
            Record::Flows(more) => flows.extend(more),
            Record::End(count) if count == flows.len() as u64 && rest.is_empty() => {
                return Ok((port, flows));
            }
            Record::End(_) => return Err(bad("its end does not fit: flows or bytes are amiss")),
            Record::Port(_) => return Err(bad("it has more than one port")),
        }
    }
}

fn next(rest: &mut &[u8]) -> Result<Record, OpteError> {
    let bad = |why: &str| OpteError::invalid("saved port", why);
    let cut = || bad("it is cut short");
    let (len, after) = rest.split_first_chunk().ok_or_else(cut)?;
    let (sum, after) = after.split_first_chunk().ok_or_else(cut)?;
    let len = u32::from_be_bytes(*len) as usize;
    let (body, after) = after.split_at_checked(len).ok_or_else(cut)?;
    if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
        return Err(bad("a checksum is wrong: the file is damaged"));
    }
    *rest = after;
    opte_api::frame::decode(body).map_err(|error| bad(&format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn flow(port: u16) -> SavedFlow {
        let flow = FlowId {
            protocol: opte_api::Protocol::UDP,
            src: [10, 0, 0, 1].into(),
            src_port: port,
            dst: [10, 0, 0, 2].into(),
            dst_port: 53,
        };
        let side = SavedSide { flow, packets: 1, bytes: 2, idle_ms: 3 };
        SavedFlow {
            opened: Direction::Out,
            macs: [MacAddr::default(); 2],
            mark: 7,
            sides: [side; 2],
            nat: SavedNat::None,
            leased: false,
            tcp: None,
        }
    }

    fn records(records: &[Record]) -> Vec<u8> {
        let mut bytes = header();
        for record in records {
            bytes.extend(encode(record).unwrap());
        }
        bytes
    }

    fn refused(bytes: &[u8], why: &str) {
        let error = decode(bytes).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_is_no_saved_port_is_refused_and_told() {
        refused(b"", "cut short");
        refused(b"OPTESAVX\0\x01", "OPTESAVE");
        refused(b"OPTESAVE\0\x09", "version 9");
        refused(&header(), "cut short");
        refused(&records(&[Record::Flows([flow(1)].into())]), "no port comes first");
        refused(&records(&[Record::End(0)]), "no port comes first");
        let mut damaged = records(&[Record::Flows([flow(1)].into())]);
        *damaged.last_mut().unwrap() ^= 1;
        refused(&damaged, "checksum");
    }
}
