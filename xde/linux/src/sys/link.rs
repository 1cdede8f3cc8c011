// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Network links by name (netdevice(7)).

use crate::netlink::{Netlink, Request};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::ffi::{c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The index of a link; it stays while the link exists.
pub fn index(name: &str) -> io::Result<u32> {
    Ok(rustix::net::netdevice::name_to_index(socket()?, name)?)
}

/// The largest packet that the link of that index carries, in bytes.
pub fn mtu(index: u32) -> io::Result<u32> {
    let socket = socket()?;
    let name = rustix::net::netdevice::index_to_name(&socket, index)?;
    super::raw::mtu(&socket, &name)
}

/// Sets the largest packet that a link carries, in bytes.
pub fn set_mtu(name: &str, mtu: u16) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_mtu = c_int::from(mtu);
    // SAFETY: SIOCSIFMTU reads one `ifreq` through its argument, which points to one that lives
    // until the call returns, with a name that ends in a zero byte.
    let result =
        unsafe { libc::ioctl(socket()?.as_raw_fd(), libc::SIOCSIFMTU, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// How large the super-frames are that the kernel sends over a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SuperFrames {
    /// Bytes of one.
    pub bytes: u32,
    /// Segments of one.
    pub segments: u32,
}

impl SuperFrames {
    /// What fits in one `UDP_SEGMENT` send once it is cut and each segment has its outer headers:
    /// 64 segments and 65 400 bytes, at an MTU of 1500.
    pub const FOR_ONE_SEND: Self = Self { bytes: 61_200, segments: 64 };
}

/// Sets how many frames may wait for a link, and how large super-frames may be (rtnetlink(7)).
pub fn set_limits(name: &str, queue_len: u32, frames: SuperFrames) -> io::Result<()> {
    // Family, type; index; flags and their mask.
    let fixed = [&[0; 4][..], &index(name)?.to_ne_bytes(), &[0; 8]].concat();
    let request = Request::new(libc::RTM_NEWLINK, &fixed)
        .acknowledged()
        .with(libc::IFLA_TXQLEN, &queue_len.to_ne_bytes())
        .with(IFLA_GSO_MAX_SIZE, &frames.bytes.to_ne_bytes())
        .with(IFLA_GSO_MAX_SEGS, &frames.segments.to_ne_bytes());
    Netlink::open()?.ask(request).map(drop)
}

const IFLA_GSO_MAX_SEGS: u16 = 40;
const IFLA_GSO_MAX_SIZE: u16 = 41;

/// A request about the link `name`, all else zero.
pub(super) fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is an array of bytes and a union of integers, addresses and a pointer; all
    // zeros is a value of each of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than there is room for, so that the last one stays zero.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "link names have 1 to 15 bytes"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    Ok(request)
}

fn socket() -> io::Result<OwnedFd> {
    let kind = (AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC);
    Ok(rustix::net::socket_with(kind.0, kind.1, kind.2, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        assert!(interface_request("").is_err());
        assert!(interface_request("sixteen-letters-").is_err());
        let request = interface_request("fifteen-letters").unwrap();
        assert_eq!(request.ifr_name[15], 0);
    }

    #[test]
    fn loopback_is_there_and_others_are_not() {
        assert!(index("lo").unwrap() > 0);
        assert_eq!(index("no-such-link").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
