// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packet sockets, which see the frames of one link, and raw sockets, which send whole IP packets
//! (packet(7), raw(7)).

use super::link::interface_request;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::ffi::{c_int, c_uint};
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Frames that one call receives at most.
pub const BATCH: usize = 64;
/// So many are moved with less to prepare.
pub const FEW: usize = 4;
/// Bytes of virtio-net header in front of each frame.
pub const VNET_LEN: usize = 10;

/// Opens a socket for the untagged ARP, IPv4 and IPv6 frames that come in over a link, those of
/// multicast groups included. Each has a virtio-net header in front, in both directions, so that
/// super-frames and unfinished checksums show as what they are. What this host itself sends
/// over the link is not seen.
pub fn packet_socket(link: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Without a protocol it sees no frames until it is bound: none of before its options.
    let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    set_option(&fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
    set_option(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
    let mr_ifindex = c_int::try_from(link).map_err(io::Error::other)?;
    let mr_type = libc::PACKET_MR_ALLMULTI as u16;
    let groups = libc::packet_mreq { mr_ifindex, mr_type, mr_alen: 0, mr_address: [0; 8] };
    set_option(&fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &groups)?;
    attach_filter(&fd)?;
    rustix::net::bind(&fd, &LinkAddress(mr_ifindex))?;
    Ok(fd)
}

/// Opens a socket that sends whole IP packets of one family, their header included, over the link
/// of that name only. It receives nothing.
pub fn raw_socket(family: AddressFamily, link: &str) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::RAW))?;
    let name = interface_request(link)?.ifr_name;
    set_option(&fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, &name)?;
    Ok(fd)
}

/// The largest packet that a link carries, in bytes; asked through any socket.
pub fn mtu(fd: impl AsFd, link: &str) -> io::Result<u32> {
    let mut request = interface_request(link)?;
    // SAFETY: SIOCGIFMTU reads a name that ends in a zero byte and writes `ifru_mtu`, through its
    // argument, which points to an `ifreq` that lives until the call returns (netdevice(7)).
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all of the union was zero before, and has at least an `int` written now.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(io::Error::other)
}

/// Shares the frames of a link among all packet sockets of one `group`: those of one flow go to
/// one socket.
pub fn join_fanout(fd: impl AsFd, group: u16) -> io::Result<()> {
    let value = libc::PACKET_FANOUT_HASH << 16 | c_uint::from(group);
    set_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &value)
}

/// What the kernel says about one received frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Bytes of it in its buffer, virtio-net header included.
    pub len: usize,
    /// It was longer than the buffer.
    pub truncated: bool,
}

/// Receives at most one frame into each of `places`, of two pieces of memory each, and `most` or
/// [`BATCH`] at most. Never waits.
pub fn receive<'a>(
    fd: impl AsFd,
    most: usize,
    places: impl Iterator<Item = [&'a mut [u8]; 2]>,
    out: &mut Vec<Received>,
) -> io::Result<()> {
    let places = places.take(most);
    if most <= FEW {
        receive_up_to::<FEW>(fd, places, out)
    } else {
        receive_up_to::<BATCH>(fd, places, out)
    }
}

fn receive_up_to<'a, const N: usize>(
    fd: impl AsFd,
    places: impl Iterator<Item = [&'a mut [u8]; 2]>,
    out: &mut Vec<Received>,
) -> io::Result<()> {
    // SAFETY: these are arrays of plain C structures of integers and pointers; all zeros is a
    // value of each.
    let (mut headers, mut slices): ([libc::mmsghdr; N], [[libc::iovec; 2]; N]) =
        unsafe { std::mem::zeroed() };
    let mut count = 0;
    for ((header, slices), place) in headers.iter_mut().zip(&mut slices).zip(places) {
        for (slice, piece) in slices.iter_mut().zip(place) {
            slice.iov_base = piece.as_mut_ptr().cast();
            slice.iov_len = piece.len();
        }
        header.msg_hdr.msg_iov = slices.as_mut_ptr();
        header.msg_hdr.msg_iovlen = slices.len();
        count += 1;
    }
    // SAFETY: the first `count` headers point to two slices each, and these to pieces of memory
    // with their lengths, exclusively borrowed for `'a`, which outlives the call.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    out.extend(headers.iter().take(received).map(|header| Received {
        len: header.msg_len as usize,
        truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
    }));
    Ok(())
}

/// Frames that the socket's buffer had no room for since the last time this was asked.
pub fn lost(fd: impl AsFd) -> io::Result<usize> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: PACKET_STATISTICS writes at most `len` bytes, which is the size of `stats`, and their
    // number to `len`; both live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(stats.tp_drops as usize) }
}

/// Sends `frames`, [`BATCH`] at most, each a whole one behind its virtio-net header; answers how
/// many were taken. An error is about the first. Never waits.
pub fn send<'a>(
    fd: impl AsFd,
    frames: impl ExactSizeIterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    if frames.len() <= FEW {
        send_up_to::<FEW>(fd, frames)
    } else {
        send_up_to::<BATCH>(fd, frames)
    }
}

fn send_up_to<'a, const N: usize>(
    fd: impl AsFd,
    frames: impl Iterator<Item = &'a [u8]>,
) -> io::Result<usize> {
    // SAFETY: as in `receive`.
    let (mut headers, mut slices): ([libc::mmsghdr; N], [libc::iovec; N]) =
        unsafe { std::mem::zeroed() };
    let mut count = 0;
    for ((header, slice), frame) in headers.iter_mut().zip(&mut slices).zip(frames) {
        // The kernel only reads what it sends; the structure is shared with receiving.
        slice.iov_base = frame.as_ptr().cast_mut().cast();
        slice.iov_len = frame.len();
        header.msg_hdr.msg_iov = slice;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point to one slice each, and that to one of `frames` with
    // its length, borrowed for longer than the call.
    let sent = unsafe {
        let fd = fd.as_fd().as_raw_fd();
        libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Keeps away what is not ARP, IPv4 or IPv6, and frames with a VLAN tag: they are of other links.
fn attach_filter(fd: &OwnedFd) -> io::Result<()> {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const TAG_PRESENT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT) as u32;
    const ETHER_TYPE: u32 = 12;
    let step = |code, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        step(LOAD_BYTE, TAG_PRESENT, 0, 0),
        step(IF_EQUAL, 0, 0, 4),
        step(LOAD_HALF, ETHER_TYPE, 0, 0),
        step(IF_EQUAL, 0x0800, 3, 0),
        step(IF_EQUAL, 0x0806, 2, 0),
        step(IF_EQUAL, 0x86dd, 1, 0),
        step(RETURN, 0, 0, 0),
        step(RETURN, u32::MAX, 0, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Sets an option that the kernel reads as a `T`.
fn set_option<T>(fd: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which is borrowed for longer than the
    // call. Each caller, all in this file, passes the type that packet(7) or socket(7) names, and
    // what the filter program points to lives until this returns.
    let result = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const *value).cast(), len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// All protocols of the link of this index.
struct LinkAddress(c_int);

// SAFETY: `f` is called with a pointer to a `sockaddr_ll` and its length; it lives until `f`
// returns.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as libc::sa_family_t,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: self.0,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        f((&raw const address).cast(), size_of::<libc::sockaddr_ll>() as SocketAddrLen)
    }
}
