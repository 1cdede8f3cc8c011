// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Questions to the kernel about links, routes and neighbours (netlink(7), rtnetlink(7)).
//!
//! The kernel answers before the question's call returns, so nothing here waits.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::os::fd::OwnedFd;

/// Length of a message's header.
const HEADER_LEN: usize = 16;
/// Length of an attribute's header.
const ATTRIBUTE_LEN: usize = 4;
/// Type of a message that ends a request: an error's number, zero for none.
const ERROR: u16 = libc::NLMSG_ERROR as u16;
/// Longest answer that is understood.
const MAX_ANSWER: usize = 4096;

/// A request, to be filled with attributes.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A request of that type with its fixed part.
    pub fn new(kind: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        // Sequence number and sender: one question at a time needs neither.
        bytes.extend([0; 8]);
        bytes.extend(fixed);
        Self(bytes)
    }

    /// The same, to be answered also if there is nothing to say.
    pub fn acknowledged(mut self) -> Self {
        if let Some(flags) = self.0.get_mut(6..8) {
            let all = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
            flags.copy_from_slice(&all.to_ne_bytes());
        }
        self
    }

    /// Adds an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(((ATTRIBUTE_LEN + value.len()) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn into_bytes(mut self) -> Vec<u8> {
        let len = (self.0.len() as u32).to_ne_bytes();
        self.0.splice(..4, len);
        self.0
    }
}

/// A line to the kernel.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens a line for links, routes and neighbours.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = AddressFamily::NETLINK;
        Ok(Self(rustix::net::socket_with(family, SocketType::RAW, flags, None)?))
    }

    /// Asks; the answer is a message without its header, or nothing.
    pub fn ask(&self, request: Request) -> io::Result<Vec<u8>> {
        rustix::net::send(&self.0, &request.into_bytes(), SendFlags::empty())?;
        let mut bytes = vec![0; MAX_ANSWER];
        let (_, len) = rustix::net::recv(&self.0, &mut bytes[..], RecvFlags::empty())?;
        bytes.truncate(len);
        answer(&bytes)
    }
}

fn answer(message: &[u8]) -> io::Result<Vec<u8>> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (header, body) = message.split_first_chunk::<HEADER_LEN>().ok_or_else(bad)?;
    let [l0, l1, l2, l3, k0, k1, ..] = *header;
    let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let body = body.get(..len.saturating_sub(HEADER_LEN)).ok_or_else(bad)?;
    if u16::from_ne_bytes([k0, k1]) != ERROR {
        return Ok(body.to_vec());
    }
    match body.first_chunk().map(|number| i32::from_ne_bytes(*number)) {
        Some(0) => Ok(Vec::new()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        None => Err(bad()),
    }
}

/// The attributes in `bytes`: type and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk::<ATTRIBUTE_LEN>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(ATTRIBUTE_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]), value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let bytes = Request::new(7, &[1; 12]).with(3, b"abcde").with(4, b"").into_bytes();
        assert_eq!(bytes.len(), 16 + 12 + 12 + 4);
        assert_eq!(bytes[..4], 44u32.to_ne_bytes());
        let found: Vec<_> = attributes(&bytes[28..]).collect();
        assert_eq!(found, [(3, &b"abcde"[..]), (4, &b""[..])]);
    }

    #[test]
    fn the_kernel_answers_with_what_there_is_or_why_not() {
        let netlink = Netlink::open().unwrap();
        // The link of index 1 is there in every namespace.
        let link = |index: i32| {
            let fixed = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
            netlink.ask(Request::new(libc::RTM_GETLINK, &fixed))
        };
        let answer = link(1).unwrap();
        assert!(attributes(&answer[16..]).any(|(kind, _)| kind == libc::IFLA_IFNAME));
        assert_eq!(link(i32::MAX).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    proptest! {
        #[test]
        fn any_answer_is_safe(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = answer(&bytes);
            prop_assert!(attributes(&bytes).count() <= bytes.len() / ATTRIBUTE_LEN);
        }
    }
}
