// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the client asks.

use core::net::Ipv4Addr;
use opte_api::MacAddr;
use smoltcp::wire::{ArpHardware, DhcpMessageType, DhcpOpCode, DhcpPacket};

const MAGIC: u32 = 0x6382_5363;
/// Options of one message that are looked at.
const MAX_OPTIONS: usize = 128;

/// The parts of a client's message that decide about the answer.
pub(super) struct Request<'a> {
    pub kind: DhcpMessageType,
    pub transaction: u32,
    /// The client cannot receive unicast yet.
    pub broadcast: bool,
    /// `ciaddr`: the address the client has, or zero.
    pub client_ip: Ipv4Addr,
    /// The address the client would like.
    pub requested: Option<Ipv4Addr>,
    /// The server the client chose.
    pub server: Option<Ipv4Addr>,
    /// Comes back in the answer (RFC 6842).
    pub client_id: Option<&'a [u8]>,
    /// Options the client would like.
    pub parameters: &'a [u8],
    /// Longest IP packet the client takes.
    pub max_size: Option<u16>,
}

impl<'a> Request<'a> {
    /// Reads the message of the client with this MAC address. Options that are cut off or have
    /// an odd length are as good as absent.
    pub fn read(mac: MacAddr, packet: &'a DhcpPacket<&[u8]>) -> Result<Self, &'static str> {
        let ethernet = packet.hardware_type() == ArpHardware::Ethernet
            && usize::from(packet.hardware_len()) == mac.0.len();
        if packet.opcode() != DhcpOpCode::Request || packet.magic_number() != MAGIC || !ethernet {
            return Err("not a DHCP request over Ethernet");
        }
        if packet.client_hardware_address().0 != mac.0 {
            return Err("DHCP for a MAC address that is not the guest's");
        }
        if !packet.relay_agent_ip().is_unspecified() {
            return Err("DHCP through a relay");
        }
        let mut kind = None;
        let mut request = Self {
            kind: DhcpMessageType::Unknown(0),
            transaction: packet.transaction_id(),
            broadcast: packet.flags().contains(smoltcp::wire::DhcpFlags::BROADCAST),
            client_ip: packet.client_ip(),
            requested: None,
            server: None,
            client_id: None,
            parameters: &[],
            max_size: None,
        };
        for option in packet.options().take(MAX_OPTIONS) {
            match option.kind {
                super::options::REQUESTED_ADDRESS => request.requested = address(option.data),
                super::options::MESSAGE_TYPE => kind = option.data.first().copied(),
                super::options::SERVER_ID => request.server = address(option.data),
                super::options::PARAMETERS => request.parameters = option.data,
                super::options::MAX_SIZE => request.max_size = number(option.data),
                super::options::CLIENT_ID => request.client_id = Some(option.data),
                _ => {}
            }
        }
        request.kind = kind.ok_or("DHCP message without a type")?.into();
        Ok(request)
    }

    /// The address the client says it has.
    pub fn client_address(&self) -> Option<Ipv4Addr> {
        Some(self.client_ip).filter(|address| !address.is_unspecified())
    }
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from)
}

fn number(data: &[u8]) -> Option<u16> {
    <[u8; 2]>::try_from(data).ok().map(u16::from_be_bytes)
}
