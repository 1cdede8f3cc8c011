// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The addresses of this host, and word of their changes.

use anyhow::{Context, bail};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use opte_api::MacAddr;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use xde::boundary::Outside;

/// Groups of rtnetlink(7) that tell of links and addresses.
const CHANGES: u32 =
    (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;

/// What a boundary wants to know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    /// Of the outside interface.
    pub outside: Outside,
    /// The interface that has the underlay address.
    pub underlay: Option<String>,
    /// Indices of all interfaces but the outside one.
    pub inner_links: Vec<u32>,
}

/// Watches the addresses of a boundary host.
pub struct AddressWatch {
    outside: String,
    underlay_ip: Ipv6Addr,
    netlink: OwnedFd,
}

impl AddressWatch {
    /// Begins to watch.
    pub fn open(outside: &str, underlay_ip: Ipv6Addr) -> anyhow::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = AddressFamily::NETLINK;
        // No protocol is the one of routes, links and addresses.
        let netlink = rustix::net::socket_with(family, SocketType::RAW, flags, None)?;
        rustix::net::bind(&netlink, &SocketAddrNetlink::new(0, CHANGES))?;
        warn_if_kernel_forwards(outside);
        Ok(Self { outside: outside.into(), underlay_ip, netlink })
    }

    /// The addresses now, after whatever was told of changes.
    pub fn read(&self) -> anyhow::Result<Addresses> {
        self.drain().context("cannot hear of changes of addresses")?;
        let mut addresses = Addresses::default();
        for address in getifaddrs().context("cannot list the addresses of this host")? {
            self.note(&mut addresses, &address);
        }
        if addresses.outside.mac == MacAddr::default() {
            bail!("interface {} is not there or has no MAC address", self.outside);
        }
        if addresses.underlay.is_none() {
            bail!("underlay address {} is none of this host's", self.underlay_ip);
        }
        Ok(addresses)
    }

    fn note(&self, addresses: &mut Addresses, address: &InterfaceAddress) {
        let Some(storage) = address.address else { return };
        let outside = address.interface_name == self.outside;
        if let Some(link) = storage.as_link_addr() {
            match u32::try_from(link.ifindex()) {
                _ if outside => addresses.outside.mac = MacAddr(link.addr().unwrap_or_default()),
                Ok(index) => addresses.inner_links.push(index),
                Err(_) => {}
            }
        }
        let ipv4 = storage.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        match ipv4.or(storage.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip()))) {
            Some(IpAddr::V4(ip)) if outside => {
                addresses.outside.ipv4.get_or_insert(ip);
            }
            // A link-local source means nothing to those who are not on the link.
            Some(IpAddr::V6(ip)) if outside && !ip.is_unicast_link_local() => {
                addresses.outside.ipv6.get_or_insert(ip);
            }
            Some(ip) if ip == IpAddr::V6(self.underlay_ip) => {
                addresses.underlay = Some(address.interface_name.clone());
            }
            _ => {}
        }
    }

    /// Empties the socket. What it says is not looked at: the state itself is read again.
    fn drain(&self) -> rustix::io::Result<()> {
        let mut bytes = [0; 8192];
        loop {
            match rustix::net::recv(&self.netlink, &mut bytes[..], RecvFlags::empty()) {
                // Lost messages, too, say no more than that something has changed.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for AddressWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

/// A kernel that forwards would send packets to the table's addresses back out.
fn warn_if_kernel_forwards(interface: &str) {
    for family in ["ipv4", "ipv6"] {
        let path = format!("/proc/sys/net/{family}/conf/{interface}/forwarding");
        if fs::read_to_string(&path).is_ok_and(|text| text.trim() != "0") {
            tracing::warn!("{path} is on: the kernel, too, forwards packets to the NAT table");
        }
    }
}
