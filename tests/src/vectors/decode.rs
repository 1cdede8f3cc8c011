// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fields of the answers whose payload may be laid out in many ways: DHCPv4, DHCPv6 and router
//! advertisements.
//!
//! Each decoder gives its fields under the names that the files use. Options that occur several
//! times are joined, compressed names are expanded, the order of options is lost.

mod dhcp4;
mod dhcp6;
mod ra;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

/// Decoded fields by name.
pub type Decoded = BTreeMap<String, Value>;

/// Which decoder knows the field.
pub fn decode_for(field: &str, frame: &[u8]) -> Result<Decoded> {
    match field.split_once('.') {
        Some(("dhcp", _)) => dhcp4::decode(frame),
        Some(("dhcpv6", _)) => dhcp6::decode(frame),
        Some(("ra", _)) => ra::decode(frame),
        _ => bail!("no decoder knows this field"),
    }
}

/// The payload behind Ethernet and an IPv4 (with options) or IPv6 header with this protocol.
fn ip_payload(frame: &[u8], protocol: u8) -> Result<&[u8]> {
    let mut reader = Reader(frame);
    reader.take(12)?;
    let (next, len) = match reader.word()? {
        0x0800 => {
            let header = reader.take(20)?;
            reader.take((usize::from(header[0] & 0xf) * 4).saturating_sub(20))?;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let len = total.checked_sub(usize::from(header[0] & 0xf) * 4);
            (header[9], len.context("the total length is less than the header")?)
        }
        0x86dd => {
            let header = reader.take(40)?;
            (header[6], usize::from(u16::from_be_bytes([header[4], header[5]])))
        }
        other => bail!("Ethernet type {other:04x}"),
    };
    ensure!(next == protocol, "IP protocol {next} where {protocol} is expected");
    reader.take(len)
}

/// The payload of a UDP datagram between these ports.
fn udp_payload(frame: &[u8], src_port: u16, dst_port: u16) -> Result<&[u8]> {
    let mut reader = Reader(ip_payload(frame, 17)?);
    let ports = (reader.word()?, reader.word()?);
    ensure!(ports == (src_port, dst_port), "UDP ports {} to {}", ports.0, ports.1);
    let len = usize::from(reader.word()?);
    reader.word()?;
    reader.take(len.checked_sub(8).context("UDP length below 8")?)
}

/// Reads bytes from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(len) else {
            bail!("{len} bytes are missing, {} are there", self.0.len());
        };
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn word(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }
}

/// Bytes of exactly one size.
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().with_context(|| format!("{} bytes, not {N}", bytes.len()))
}

/// Bytes as hexadecimal digits.
fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A list of domain names (RFC 1035, section 3.1); pointers count from the start of `data`
/// (RFC 3397, section 2).
fn domain_names(data: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let (name, end) = domain_name(data, at)?;
        names.push(name);
        at = end;
    }
    Ok(names)
}

/// One name and the offset behind it.
fn domain_name(data: &[u8], start: usize) -> Result<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let mut at = start;
    let mut end = None;
    loop {
        let len = *data.get(at).context("a name has no end")?;
        match len >> 6 {
            0 if len == 0 => return Ok((labels.join("."), end.unwrap_or(at + 1))),
            0 => {
                let label = data.get(at + 1..at + 1 + usize::from(len));
                labels.push(String::from_utf8(label.context("a label has no end")?.to_vec())?);
                at += 1 + usize::from(len);
            }
            3 => {
                let low = *data.get(at + 1).context("a pointer has no end")?;
                let target = usize::from(len & 0x3f) << 8 | usize::from(low);
                // Pointers lead backwards only, so that the walk ends (RFC 1035, section 4.1.4).
                ensure!(target < at, "a pointer leads forward");
                end.get_or_insert(at + 2);
                at = target;
            }
            _ => bail!("label type {len:02x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_pointers() {
        let data = b"\x01a\x03net\0\x02bc\xc0\x02\xc0\x02\0";
        assert_eq!(domain_names(data).unwrap(), ["a.net", "bc.net", "net", ""]);
        for bad in [&b"\x01a"[..], b"\x05ab", b"\xc0\x00", b"\x01a\xc0", b"\x80", b"\x01\xff\0"] {
            assert!(domain_names(bad).is_err(), "{bad:?}");
        }
    }
}
