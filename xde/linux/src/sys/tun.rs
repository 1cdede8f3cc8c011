// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! TAP devices (`Documentation/networking/tuntap.rst` of the kernel).

use super::link::interface_request;
use rustix::fs::{Mode, OFlags};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The device from which all TAP devices are made.
pub const CLONE_DEVICE: &str = "/dev/net/tun";

/// Bits of `TUNSETOFFLOAD`: what the reader of a TAP device can finish by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offloads(u32);

impl Offloads {
    /// Checksums, TCP segmentation with and without ECN.
    pub const TCP: Self =
        Self(libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN);
    /// The same, and UDP segmentation (Linux 6.2).
    pub const TCP_AND_UDP: Self = Self(Self::TCP.0 | libc::TUN_F_USO4 | libc::TUN_F_USO6);
    /// Nothing.
    pub const NONE: Self = Self(0);
}

/// Opens the clone device, without making a TAP device yet.
pub fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(CLONE_DEVICE, flags, Mode::empty())?)
}

/// Asks whether the kernel's TAP devices have virtio-net headers.
pub fn has_vnet_header(fd: impl AsFd) -> io::Result<bool> {
    let mut features: c_int = 0;
    // SAFETY: TUNGETFEATURES writes one `int` through its argument, which points to one that
    // lives until the call returns.
    let result =
        unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNGETFEATURES, &raw mut features) };
    check(result)?;
    Ok(features & libc::IFF_VNET_HDR != 0)
}

/// How many queues a TAP device can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queues {
    /// One.
    One,
    /// One or more, each with its own file descriptor.
    Several,
}

/// Makes a TAP device of that name which gives and takes whole frames behind a virtio-net header.
/// It exists as long as one of its queues is open; `fd` is the first.
pub fn create(fd: impl AsFd, name: &str, queues: Queues) -> io::Result<()> {
    let several = if queues == Queues::Several { libc::IFF_MULTI_QUEUE } else { 0 };
    attach(fd, name, IFF_TUN_EXCL | several)
}

/// Makes `fd` one more queue of a TAP device of several.
pub fn join(fd: impl AsFd, name: &str) -> io::Result<()> {
    attach(fd, name, libc::IFF_MULTI_QUEUE)
}

fn attach(fd: impl AsFd, name: &str, flags: c_int) -> io::Result<()> {
    let mut request = interface_request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags;
    // The flags are 16 bits wide in the kernel; the constants are wider only in the binding.
    request.ifr_ifru.ifru_flags = flags as i16;
    // SAFETY: TUNSETIFF reads and writes one `ifreq` through its argument, which points to one
    // that lives until the call returns, with a name that ends in a zero byte.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(result)
}

/// Sets the length of the virtio-net header.
pub fn set_header_len(fd: impl AsFd, len: usize) -> io::Result<()> {
    let len = c_int::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: TUNSETVNETHDRSZ reads one `int` through its argument, which points to one that
    // lives until the call returns.
    let result =
        unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    check(result)
}

/// Says what the reader can finish by itself.
pub fn set_offloads(fd: impl AsFd, offloads: Offloads) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument as a number, not as a pointer.
    let result = unsafe {
        libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads.0))
    };
    check(result)
}

/// Refuse to attach to a device that is there already.
const IFF_TUN_EXCL: c_int = libc::IFF_TUN_EXCL;

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
