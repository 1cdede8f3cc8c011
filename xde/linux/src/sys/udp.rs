// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! UDP over IPv6: socket options, and many datagrams in one call (udp(7), ipv6(7), recvmmsg(2)).

use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::mem::{offset_of, size_of};
use std::net::Ipv6Addr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams that one call moves at most.
pub const BATCH: usize = 32;
/// So many are moved with less to prepare.
pub const FEW: usize = 4;
/// Pieces of memory that one message is gathered from at most (`UIO_MAXIOV`).
pub const MAX_SLICES: usize = 1024;

/// A numeric socket option, with its level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SocketOption(c_int, c_int);

impl SocketOption {
    /// Tell the destination address and the link of each datagram.
    pub const PACKET_INFO: Self = Self(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO);
    /// Tell the traffic class of each datagram.
    pub const TRAFFIC_CLASS: Self = Self(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS);
    /// Never fragment.
    pub const DONT_FRAGMENT: Self = Self(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG);
    /// Path MTU discovery, as [`PATH_MTU_DISCOVERY`].
    pub const MTU_DISCOVER: Self = Self(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER);
    /// Take datagrams without a checksum (RFC 6936).
    pub const ZERO_CHECKSUM_RECEIVE: Self = Self(libc::IPPROTO_UDP, libc::UDP_NO_CHECK6_RX);
    /// Receive runs of equal datagrams in one piece.
    pub const RECEIVE_RUNS: Self = Self(libc::IPPROTO_UDP, libc::UDP_GRO);
    /// Send each buffer as datagrams of so many bytes.
    pub const SEND_RUNS: Self = Self(libc::IPPROTO_UDP, libc::UDP_SEGMENT);
    /// Tell how much was lost for want of room.
    pub const TELL_LOSSES: Self = Self(libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
    /// Let sockets that are bound later share the port; the kernel keeps a flow on one of them.
    pub const SHARE_PORT: Self = Self(libc::SOL_SOCKET, libc::SO_REUSEPORT);
    /// Bytes that may wait to be read; above the system's limit.
    pub const RECEIVE_BUFFER_FORCE: Self = Self(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
    /// Bytes that may wait to be read, within the system's limit.
    pub const RECEIVE_BUFFER: Self = Self(libc::SOL_SOCKET, libc::SO_RCVBUF);
    /// Bytes that may wait to be sent; above the system's limit.
    pub const SEND_BUFFER_FORCE: Self = Self(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE);
    /// Bytes that may wait to be sent, within the system's limit.
    pub const SEND_BUFFER: Self = Self(libc::SOL_SOCKET, libc::SO_SNDBUF);
}

/// Value of [`SocketOption::MTU_DISCOVER`]: refuse what is too large for the path.
pub const PATH_MTU_DISCOVERY: c_int = libc::IPV6_PMTUDISC_DO;

/// Sets a numeric option.
pub fn set_option(fd: impl AsFd, option: SocketOption, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe one `int` that lives until the call returns;
    // each option that can be named here reads at most one `int`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            option.0,
            option.1,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel says about one received piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// Bytes of it.
    pub len: usize,
    /// Length of each datagram in it but the last, if it is a run of several.
    pub run_of: Option<usize>,
    /// Who sent it.
    pub src: Ipv6Addr,
    /// Whom it was sent to.
    pub dst: Ipv6Addr,
    /// DSCP and ECN, if [`SocketOption::TRAFFIC_CLASS`] is set.
    pub traffic_class: u8,
    /// The link it came over.
    pub link: u32,
    /// It was longer than the buffer.
    pub truncated: bool,
    /// Pieces that the socket's buffer had no room for since it was opened, if there were any and
    /// [`SocketOption::TELL_LOSSES`] is set.
    pub lost: Option<u32>,
}

/// Receives at most one piece into each of `places`, of two pieces of memory each, and `most` or
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
    // SAFETY: these are plain C structures of integers and pointers, and arrays of them; all
    // zeros is a value of each.
    let (mut headers, mut names, mut slices): (
        [libc::mmsghdr; N],
        [libc::sockaddr_in6; N],
        [[libc::iovec; 2]; N],
    ) = unsafe { std::mem::zeroed() };
    let mut controls = [Control::EMPTY; N];
    let mut count = 0;
    let parts = headers.iter_mut().zip(&mut names).zip(&mut slices).zip(&mut controls);
    for ((((header, name), slices), control), place) in parts.zip(places) {
        for (slice, piece) in slices.iter_mut().zip(place) {
            slice.iov_base = piece.as_mut_ptr().cast();
            slice.iov_len = piece.len();
        }
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        header.msg_hdr.msg_iov = slices.as_mut_ptr();
        header.msg_hdr.msg_iovlen = slices.len();
        header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.bytes.len();
        count += 1;
    }
    // SAFETY: the first `count` headers point to one name, two slices and one control buffer each,
    // with their lengths; each slice is a piece of memory that is exclusively borrowed for `'a`,
    // which outlives the call. The rest is exclusively ours and lives until the call returns.
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
    for ((header, name), control) in headers.iter().zip(&names).zip(&controls).take(received) {
        out.push(describe(header, name, control));
    }
    Ok(())
}

fn describe(header: &libc::mmsghdr, name: &libc::sockaddr_in6, control: &Control) -> Received {
    let mut received = Received {
        len: header.msg_len as usize,
        run_of: None,
        src: Ipv6Addr::from_octets(name.sin6_addr.s6_addr),
        dst: Ipv6Addr::UNSPECIFIED,
        traffic_class: 0,
        link: 0,
        truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        lost: None,
    };
    for (level, kind, data) in control.messages(header.msg_hdr.msg_controllen) {
        match (level, kind) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some((addr, link)) = data.split_first_chunk::<16>() {
                    received.dst = Ipv6Addr::from_octets(*addr);
                    received.link = link.first_chunk().map_or(0, |b| u32::from_ne_bytes(*b));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                let class = data.first_chunk().map_or(0, |b| c_int::from_ne_bytes(*b));
                received.traffic_class = class as u8;
            }
            (libc::IPPROTO_UDP, libc::UDP_GRO) => {
                let size = data.first_chunk().map_or(0, |b| c_int::from_ne_bytes(*b));
                received.run_of = usize::try_from(size).ok().filter(|size| *size > 0);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                received.lost = data.first_chunk().map(|b| u32::from_ne_bytes(*b));
            }
            _ => {}
        }
    }
    received
}

/// One message to send: a datagram, or a run of equal ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its bytes, as a range of the call's slices.
    pub slices: Range<usize>,
    /// Length of each datagram but the last, if it is a run of several.
    pub run_of: Option<u16>,
    /// Source address; one of this host's.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Destination port.
    pub port: u16,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

/// Sends the first of `messages`, at most [`BATCH`], and answers how many were taken. An error is
/// about the first message. Never waits.
pub fn send(fd: impl AsFd, messages: &[Message], slices: &[IoSlice<'_>]) -> io::Result<usize> {
    if messages.len() <= FEW {
        send_up_to::<FEW>(fd, messages, slices)
    } else {
        send_up_to::<BATCH>(fd, messages, slices)
    }
}

fn send_up_to<const N: usize>(
    fd: impl AsFd,
    messages: &[Message],
    slices: &[IoSlice<'_>],
) -> io::Result<usize> {
    let messages = messages.get(..N).unwrap_or(messages);
    // SAFETY: as in `receive`.
    let (mut headers, mut names): ([libc::mmsghdr; N], [libc::sockaddr_in6; N]) =
        unsafe { std::mem::zeroed() };
    let mut controls = [Control::EMPTY; N];
    let parts = headers.iter_mut().zip(&mut names).zip(&mut controls);
    for (((header, name), control), message) in parts.zip(messages) {
        let body = slices.get(message.slices.clone()).unwrap_or_default();
        let body = body.get(..MAX_SLICES).unwrap_or(body);
        name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        name.sin6_port = message.port.to_be();
        name.sin6_addr.s6_addr = message.dst.octets();
        let mut info = [0; 20];
        info[..16].copy_from_slice(&message.src.octets());
        control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        if message.traffic_class != 0 {
            let class = c_int::from(message.traffic_class).to_ne_bytes();
            control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &class);
        }
        if let Some(size) = message.run_of {
            control.push(libc::IPPROTO_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        // The kernel only reads what it sends; the structure is shared with receiving.
        header.msg_hdr.msg_iov = body.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iovlen = body.len();
        header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = control.len;
    }
    // SAFETY: the first `messages.len()` headers point to one name, one control buffer and a
    // range of `slices` each, with their lengths; `IoSlice` is documented to be laid out as
    // `iovec`, and what its elements point to is borrowed for longer than the call.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            messages.len() as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

const CONTROL_LEN: usize = 128;
const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();

/// Control messages of one datagram (cmsg(3)), written and read as bytes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control {
    bytes: [u8; CONTROL_LEN],
    len: usize,
}

impl Control {
    const EMPTY: Self = Self { bytes: [0; CONTROL_LEN], len: 0 };

    /// Adds a message; one for which there is no room is left out.
    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let len = CONTROL_HEADER + data.len();
        let Some(room) = self.bytes.get_mut(self.len..self.len + aligned(len)) else { return };
        let (header, body) = room.split_at_mut(CONTROL_HEADER);
        header[..size_of::<usize>()].copy_from_slice(&len.to_ne_bytes());
        let at = offset_of!(libc::cmsghdr, cmsg_level);
        header[at..at + 4].copy_from_slice(&level.to_ne_bytes());
        let at = offset_of!(libc::cmsghdr, cmsg_type);
        header[at..at + 4].copy_from_slice(&kind.to_ne_bytes());
        body[..data.len()].copy_from_slice(data);
        self.len += aligned(len);
    }

    /// The messages in the first `len` bytes: level, type, data.
    fn messages(&self, len: usize) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
        let mut rest = self.bytes.get(..len).unwrap_or(&self.bytes);
        std::iter::from_fn(move || {
            let header = rest.first_chunk::<CONTROL_HEADER>()?;
            let len = usize::from_ne_bytes(*header.first_chunk()?);
            let level = header.get(offset_of!(libc::cmsghdr, cmsg_level)..)?.first_chunk()?;
            let kind = header.get(offset_of!(libc::cmsghdr, cmsg_type)..)?.first_chunk()?;
            let message = rest.get(CONTROL_HEADER..len)?;
            let found = (c_int::from_ne_bytes(*level), c_int::from_ne_bytes(*kind), message);
            rest = rest.get(aligned(len)..).unwrap_or_default();
            Some(found)
        })
    }
}

const fn aligned(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_laid_out_as_the_c_library_says() {
        // SAFETY: both are arithmetic on their argument.
        let (space, len) = unsafe { (libc::CMSG_SPACE(20), libc::CMSG_LEN(20)) };
        assert_eq!(aligned(CONTROL_HEADER + 20), space as usize);
        assert_eq!(CONTROL_HEADER + 20, len as usize);
        assert_eq!(offset_of!(libc::cmsghdr, cmsg_len), 0);
        assert_eq!(size_of::<libc::in6_pktinfo>(), 20);
        assert_eq!(offset_of!(Control, bytes) % align_of::<libc::cmsghdr>(), 0);
    }

    #[test]
    fn control_messages_round_trip() {
        let mut control = Control::EMPTY;
        control.push(1, 2, &[3; 20]);
        control.push(4, 5, &[6; 2]);
        let found: Vec<_> = control.messages(control.len).collect();
        assert_eq!(found, [(1, 2, &[3; 20][..]), (4, 5, &[6; 2][..])]);
        control.push(7, 8, &[0; 100]);
        assert_eq!(control.messages(control.len).count(), 2, "no room, no change");
    }

    #[test]
    fn control_messages_with_wrong_lengths_end_the_walk() {
        for len in [0usize, 15, 129, usize::MAX] {
            let mut control = Control::EMPTY;
            control.bytes[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(control.messages(CONTROL_LEN).count(), 0, "{len}");
        }
    }
}
