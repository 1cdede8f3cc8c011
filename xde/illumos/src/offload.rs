// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a message's sender left to do, and what we ask others to do: checksums and segmentation.
//!
//! Offsets of messages count from the IP header, those of the engine from the Ethernet header.
//! Frames with VLAN tags are not carried, so these are always 14 bytes apart.

use crate::exports::Exports;
use crate::message::{Chain, Message};
use core::ptr::null_mut;
use illumos_sys_hdrs::oxide::mac_provider::{
    MEOI_L2INFO_SET, MEOI_L3INFO_SET, MEOI_L4INFO_SET, MEOI_TUNINFO_SET, METT_GENEVE,
    mac_ether_offload_info_t,
};
use illumos_sys_hdrs::oxide::pattr::{HCK_INNER_FULL_OK, HCK_INNER_PARTIAL, HCK_INNER_V4CKSUM};
use illumos_sys_hdrs::sys::mac::mac_emul_t;
use illumos_sys_hdrs::sys::mac_client::mac_hw_emul;
use illumos_sys_hdrs::sys::mac_offload::{mac_hcksum_get, mac_hcksum_set, mac_lso_get};
use illumos_sys_hdrs::sys::pattr::{
    HCK_FULLCKSUM, HCK_FULLCKSUM_OK, HCK_IPV4_HDRCKSUM, HCK_IPV4_HDRCKSUM_OK, HCK_PARTIALCKSUM,
    HW_LSO,
};
use illumos_sys_hdrs::sys::strsubr::{lso_info_cleanup, lso_info_set};
use opte::frame::{ChecksumState, Offload, SegmentKind, Segmentation};

const ETHER: u16 = 14;

/// What a message says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wishes {
    /// For the engine.
    pub offload: Offload,
    /// The checksum of the IPv4 header is not there yet.
    pub ip_checksum: bool,
    /// The transport checksum is not there at all, not even that of the pseudo-header.
    pub whole_checksum: bool,
}

/// What a guest's stack left to do.
pub fn of_guest(message: &Message) -> Wishes {
    let (mut start, mut stuff, mut flags, mut mss, mut lso) = (0, 0, 0, 0, 0);
    // SAFETY: a message of ours; null for what nobody wants to know.
    unsafe {
        let nobody = null_mut();
        mac_hcksum_get(message.as_ptr(), &mut start, &mut stuff, nobody, nobody, &mut flags);
        mac_lso_get(message.as_ptr(), &mut mss, &mut lso);
    }
    let checksum = if flags & HCK_PARTIALCKSUM == 0 {
        ChecksumState::Complete
    } else {
        let start16 = u16::try_from(start).unwrap_or(u16::MAX).saturating_add(ETHER);
        let offset = u16::try_from(stuff.saturating_sub(start)).unwrap_or(u16::MAX);
        ChecksumState::Partial { start: start16, offset }
    };
    let size = u16::try_from(mss).unwrap_or(u16::MAX);
    let wanted = lso & HW_LSO != 0 && size != 0;
    let segments = wanted.then_some(Segmentation { kind: SegmentKind::Tcp, size });
    Wishes {
        offload: Offload { checksum, segments },
        ip_checksum: flags & HCK_IPV4_HDRCKSUM != 0,
        whole_checksum: flags & (HCK_FULLCKSUM | HCK_PARTIALCKSUM) == HCK_FULLCKSUM,
    }
}

/// What a link has verified of the packet inside of a Geneve packet.
pub fn of_underlay(message: &Message, exports: &Exports) -> Offload {
    if exports.packet_facts().is_none() {
        // Flags of mainline speak of the outer headers.
        return Offload::default();
    }
    let mut flags = 0;
    let nobody = null_mut;
    // SAFETY: a message of ours; null for what nobody wants to know.
    unsafe {
        mac_hcksum_get(message.as_ptr(), nobody(), nobody(), nobody(), nobody(), &mut flags);
    }
    let verified = flags & HCK_INNER_FULL_OK != 0;
    let checksum = if verified { ChecksumState::Verified } else { ChecksumState::Complete };
    Offload { checksum, segments: None }
}

/// The message asks for nothing; its checksums were verified, or not.
pub fn set_done(message: &Message, verified: bool) {
    let flags = if verified { HCK_FULLCKSUM_OK | HCK_IPV4_HDRCKSUM_OK } else { 0 };
    // SAFETY: a message of ours alone.
    unsafe {
        mac_hcksum_set(message.as_ptr(), 0, 0, 0, 0, flags);
        lso_info_cleanup(message.as_ptr());
    }
}

/// What is left to do of a frame without outer headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Work {
    /// Where the transport begins, from the Ethernet header.
    pub start: u16,
    /// Where its checksum is, from there.
    pub offset: u16,
    /// Bytes of the frame.
    pub len: usize,
    /// The frame is IPv4, and the checksum of its header is zero.
    pub ip_checksum: bool,
    /// Payload of each segment.
    pub size: Option<u16>,
}

/// Has the MAC layer do in software what a plain frame still needs; answers the frames that it
/// became, which may be none when there is no memory.
pub fn emulate(message: Message, work: Option<&Work>, what: mac_emul_t) -> Chain {
    if let Some(work) = work {
        let start = u32::from(work.start.saturating_sub(ETHER));
        let stuff = start + u32::from(work.offset);
        let end = u32::try_from(work.len).unwrap_or(u32::MAX).saturating_sub(ETHER.into());
        let ip = if work.ip_checksum { HCK_IPV4_HDRCKSUM } else { 0 };
        // SAFETY: a message of ours alone.
        unsafe {
            mac_hcksum_set(message.as_ptr(), start, stuff, end, 0, HCK_PARTIALCKSUM | ip);
            match work.size {
                Some(size) => lso_info_set(message.as_ptr(), size.into(), HW_LSO),
                None => lso_info_cleanup(message.as_ptr()),
            }
        }
    }
    let mut chain = message.into_raw();
    // SAFETY: the chain is ours alone, and what it becomes is, too.
    unsafe {
        mac_hw_emul(&mut chain, null_mut(), null_mut(), what);
        Chain::from_raw(chain)
    }
}

/// Lengths of the headers of a tunnelled packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// Geneve header and options.
    pub geneve: u16,
    /// EtherType of the packet inside.
    pub ethertype: u16,
    /// Protocol of its transport.
    pub protocol: u8,
    /// Its transport header.
    pub transport: u8,
}

/// Asks a link that can for checksum and segmentation of the packet inside. False if this kernel
/// has no way to ask. `message` has its outer headers.
pub fn ask_link(message: &Message, work: &Work, tunnel: &Tunnel, exports: &Exports) -> bool {
    let Some(set_facts) = exports.packet_facts() else { return false };
    let ip = if work.ip_checksum { HCK_INNER_V4CKSUM } else { 0 };
    let outer = mac_ether_offload_info_t {
        meoi_flags: MEOI_L2INFO_SET | MEOI_L3INFO_SET | MEOI_L4INFO_SET | MEOI_TUNINFO_SET,
        meoi_tuntype: METT_GENEVE,
        meoi_len: u32::try_from(message.len()).unwrap_or(u32::MAX),
        meoi_l2hlen: 14,
        meoi_l3proto: 0x86dd,
        meoi_l3hlen: 40,
        meoi_l4proto: 17,
        meoi_l4hlen: 8,
        meoi_tunhlen: tunnel.geneve,
    };
    let inner = mac_ether_offload_info_t {
        meoi_flags: MEOI_L2INFO_SET | MEOI_L3INFO_SET | MEOI_L4INFO_SET,
        meoi_tuntype: 0,
        meoi_len: u32::try_from(work.len).unwrap_or(u32::MAX),
        meoi_l2hlen: 14,
        meoi_l3proto: tunnel.ethertype,
        meoi_l3hlen: work.start.saturating_sub(ETHER),
        meoi_l4proto: tunnel.protocol,
        meoi_l4hlen: tunnel.transport,
        meoi_tunhlen: 0,
    };
    // SAFETY: a message of ours alone, and structures of the shape that a kernel with this export
    // has.
    unsafe {
        mac_hcksum_set(message.as_ptr(), 0, 0, 0, 0, HCK_INNER_PARTIAL | ip);
        match work.size {
            Some(size) => lso_info_set(message.as_ptr(), size.into(), HW_LSO),
            None => lso_info_cleanup(message.as_ptr()),
        }
        set_facts(message.as_ptr(), &outer, &inner);
    }
    true
}
