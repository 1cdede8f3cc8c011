// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `mac_hw_emul`, `sys/mac_client.h`: what a message asks of hardware, done in software.
//!
//! Written from RFC 791, 9293 and 1071, so that it shares no error with the module.

use crate::context::{May, begin};
use crate::kmem::is_exhausted;
use crate::message::linked;
use crate::modules::Kernel;
use crate::offload::Facts;
use crate::world::{World, with};
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_uint;
use illumos_sys_hdrs::sys::mac::{MAC_HWCKSUM_EMUL, MAC_IPCKSUM_EMUL, MAC_LSO_EMUL};
use illumos_sys_hdrs::sys::pattr::{
    HCK_FULLCKSUM, HCK_FULLCKSUM_OK, HCK_IPV4_HDRCKSUM, HCK_IPV4_HDRCKSUM_OK, HCK_PARTIALCKSUM,
    HW_LSO,
};
use illumos_sys_hdrs::sys::stream::mblk_t;

const ETHER: usize = 14;
const TCP: u8 = 6;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

exports! { mac_hw_emul }

/// `sys/mac_client.h`: the chain is changed in place; what cannot be done is dropped.
extern "C" fn mac_hw_emul(
    chain: *mut *mut mblk_t,
    tail: *mut *mut mblk_t,
    count: *mut c_uint,
    what: c_uint,
) {
    with(|world| {
        let fails = begin(world, "mac_hw_emul", May::Anywhere) || is_exhausted(world);
        // SAFETY: the chain is there, the other two are null or places of the caller's.
        let (chain, tail, count) = unsafe { (&mut *chain, tail.as_mut(), count.as_mut()) };
        let mut done = Vec::new();
        for message in world.take_chain("mac_hw_emul", *chain) {
            let facts = world.messages.facts(message).copied().unwrap_or_default();
            let frame = world.bytes_of("mac_hw_emul", message);
            world.freemsg("mac_hw_emul", message);
            let frames = if fails { None } else { emulate(world, frame, &facts, what) };
            for (frame, facts) in frames.into_iter().flatten() {
                done.push(world.message(0, &frame, facts));
            }
        }
        *chain = linked(&done);
        if let Some(tail) = tail {
            *tail = done.last().copied().unwrap_or(core::ptr::null_mut());
        }
        if let Some(count) = count {
            *count = done.len() as c_uint;
        }
    });
}

/// `None`: cannot be done.
fn emulate(
    world: &mut World,
    frame: Vec<u8>,
    facts: &Facts,
    what: c_uint,
) -> Option<Vec<(Vec<u8>, Facts)>> {
    let Some(layout) = Layout::of(&frame) else {
        world.blame("mac_hw_emul of what is neither IPv4 nor IPv6".into());
        return None;
    };
    let cuts = what & MAC_LSO_EMUL != 0 && facts.flags & HW_LSO != 0;
    if cuts && !layout.is_ipv4 && world.modules.kernel == Kernel::Mainline {
        // Mainline cuts TCP over IPv4 alone.
        world.blame("mac_hw_emul is to cut IPv6 on a mainline kernel".into());
        return None;
    }
    let frames = if cuts { segments(&frame, &layout, facts.mss as usize)? } else { vec![frame] };
    let finish = |mut frame: Vec<u8>| {
        let mut left = *facts;
        if cuts {
            (left.flags, left.mss) = (left.flags & !HW_LSO, 0);
        }
        if what & MAC_IPCKSUM_EMUL != 0 && facts.flags & HCK_IPV4_HDRCKSUM != 0 {
            fill_ip(&mut frame, &layout)?;
            left.flags = left.flags & !HCK_IPV4_HDRCKSUM | HCK_IPV4_HDRCKSUM_OK;
        }
        let transport = facts.flags & (HCK_PARTIALCKSUM | HCK_FULLCKSUM);
        if what & MAC_HWCKSUM_EMUL != 0 && transport != 0 {
            fill_transport(&mut frame, &layout)?;
            left.flags = left.flags & !transport | HCK_FULLCKSUM_OK;
        }
        Some((frame, left))
    };
    frames.into_iter().map(finish).collect()
}

/// Where headers are. Extension headers are not for hardware.
struct Layout {
    is_ipv4: bool,
    protocol: u8,
    transport: usize,
}

impl Layout {
    fn of(frame: &[u8]) -> Option<Self> {
        match *frame.get(12..14)? {
            [0x08, 0x00] => {
                let transport = ETHER + usize::from(frame.get(ETHER)? & 0xf) * 4;
                Some(Self { is_ipv4: true, protocol: *frame.get(ETHER + 9)?, transport })
            }
            [0x86, 0xdd] => {
                let protocol = *frame.get(ETHER + 6)?;
                Some(Self { is_ipv4: false, protocol, transport: ETHER + 40 })
            }
            _ => None,
        }
    }

    fn addresses<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        frame.get(if self.is_ipv4 { ETHER + 12..ETHER + 20 } else { ETHER + 8..ETHER + 40 })
    }
}

/// The one's-complement sum of RFC 1071.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let mut sum = start;
    for two in bytes.chunks(2) {
        let [high, low] = [two[0], two.get(1).copied().unwrap_or(0)];
        sum += u32::from(u16::from_be_bytes([high, low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

fn put(frame: &mut [u8], at: usize, value: u16) -> Option<()> {
    frame.get_mut(at..at + 2)?.copy_from_slice(&value.to_be_bytes());
    Some(())
}

fn fill_ip(frame: &mut [u8], layout: &Layout) -> Option<()> {
    put(frame, ETHER + 10, 0)?;
    let value = !sum(frame.get(ETHER..layout.transport)?, 0) as u16;
    put(frame, ETHER + 10, value)
}

fn fill_transport(frame: &mut [u8], layout: &Layout) -> Option<()> {
    let at = layout.transport + if layout.protocol == TCP { 16 } else { 6 };
    put(frame, at, 0)?;
    let body = frame.get(layout.transport..)?;
    let pseudo = sum(layout.addresses(frame)?, u32::from(layout.protocol));
    let pseudo = sum(&(body.len() as u32).to_be_bytes(), pseudo);
    let value = match !sum(body, pseudo) as u16 {
        0 => u16::MAX,
        value => value,
    };
    put(frame, at, value)
}

/// Segments of a TCP packet (RFC 9293), as hardware makes them.
fn segments(frame: &[u8], layout: &Layout, size: usize) -> Option<Vec<Vec<u8>>> {
    let payload_at = layout.transport + usize::from(frame.get(layout.transport + 12)? >> 4) * 4;
    let (headers, payload) = frame.split_at_checked(payload_at)?;
    if layout.protocol != TCP || size == 0 {
        return None;
    }
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..at + 2)?.first_chunk()?));
    let sequence = u32::from_be_bytes(*frame.get(layout.transport + 4..)?.first_chunk()?);
    let count = payload.len().div_ceil(size);
    let mut all = Vec::with_capacity(count);
    for (number, part) in payload.chunks(size).enumerate() {
        let mut segment = [headers, part].concat();
        let len = segment.len() - ETHER;
        if layout.is_ipv4 {
            put(&mut segment, ETHER + 2, len as u16)?;
            put(&mut segment, ETHER + 4, word(ETHER + 4)?.wrapping_add(number as u16))?;
        } else {
            put(&mut segment, ETHER + 4, (len - 40) as u16)?;
        }
        let here = sequence.wrapping_add((number * size) as u32);
        segment
            .get_mut(layout.transport + 4..)?
            .first_chunk_mut::<4>()?
            .copy_from_slice(&here.to_be_bytes());
        let flags = segment.get_mut(layout.transport + 13)?;
        *flags &= if number + 1 < count { !(FIN | PSH) } else { 0xff };
        *flags &= if number > 0 { !CWR } else { 0xff };
        all.push(segment);
    }
    Some(all)
}

/// What a test expects of a frame whose sender asked for segments of `size` bytes and all checksums.
pub fn cut(frame: &[u8], size: usize) -> Option<Vec<Vec<u8>>> {
    let layout = Layout::of(frame)?;
    let mut all = segments(frame, &layout, size)?;
    for segment in &mut all {
        if layout.is_ipv4 {
            fill_ip(segment, &layout)?;
        }
        fill_transport(segment, &layout)?;
    }
    Some(all)
}

/// The frame with right checksums.
pub fn completed(frame: &[u8]) -> Option<Vec<u8>> {
    let (layout, mut frame) = (Layout::of(frame)?, frame.to_vec());
    if layout.is_ipv4 {
        fill_ip(&mut frame, &layout)?;
    }
    fill_transport(&mut frame, &layout)?;
    Some(frame)
}

/// The frame with the sum of the pseudo-header alone where the transport checksum goes.
pub fn partial(frame: &[u8]) -> Option<Vec<u8>> {
    let (layout, mut frame) = (Layout::of(frame)?, frame.to_vec());
    let at = layout.transport + if layout.protocol == TCP { 16 } else { 6 };
    let len = (frame.len() - layout.transport) as u32;
    let pseudo = sum(layout.addresses(&frame)?, u32::from(layout.protocol));
    put(&mut frame, at, sum(&len.to_be_bytes(), pseudo) as u16)?;
    Some(frame)
}

/// Where the sum of a transport begins and stands, from the IP header, for [`Facts`].
pub fn places(frame: &[u8]) -> Option<[u32; 2]> {
    let layout = Layout::of(frame)?;
    let start = (layout.transport - ETHER) as u32;
    Some([start, start + if layout.protocol == TCP { 16 } else { 6 }])
}
