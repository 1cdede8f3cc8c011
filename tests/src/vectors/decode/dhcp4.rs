// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! DHCP for IPv4 (RFC 2131, RFC 2132).

use super::{Decoded, Reader, digits, domain_names, exactly, udp_payload};
use anyhow::{Context, Result, ensure};
use opte_api::MacAddr;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const PAD: u8 = 0;
const END: u8 = 255;

/// Decodes a server's answer.
pub(super) fn decode(frame: &[u8]) -> Result<Decoded> {
    let mut reader = Reader(udp_payload(frame, 67, 68)?);
    let mut decoded = Decoded::new();
    let mut put = |name: &str, value: Value| decoded.insert(format!("dhcp.{name}"), value);
    put("op", reader.byte()?.into());
    put("htype", reader.byte()?.into());
    put("hlen", reader.byte()?.into());
    let _hops = reader.byte()?;
    put("xid", digits(reader.take(4)?).into());
    put("secs", reader.word()?.into());
    put("flags", reader.word()?.into());
    for name in ["ciaddr", "yiaddr", "siaddr", "giaddr"] {
        put(name, Ipv4Addr::from(reader.array()?).to_string().into());
    }
    put("chaddr", MacAddr(reader.array()?).to_string().into());
    // The rest of the 16 bytes of chaddr, then the server's name and the file.
    reader.take(10 + 64 + 128)?;
    put("magic", digits(reader.take(4)?).into());

    let options = Options::read(reader)?;
    put("options_present", options.codes.into());
    put("end_option", options.ended.into());
    for (code, data) in options.joined {
        let value = option(code, &data).with_context(|| format!("option {code}"))?;
        if let Some((name, value)) = value {
            put(name, value);
        }
    }
    Ok(decoded)
}

struct Options {
    /// Sorted, with repeats.
    codes: Vec<u8>,
    /// Data by code, pieces of one code joined (RFC 3396).
    joined: BTreeMap<u8, Vec<u8>>,
    ended: bool,
}

impl Options {
    fn read(mut reader: Reader<'_>) -> Result<Self> {
        let mut options = Self { codes: Vec::new(), joined: BTreeMap::new(), ended: false };
        while !options.ended && !reader.is_empty() {
            match reader.byte()? {
                PAD => {}
                END => options.ended = true,
                code => {
                    let len = reader.byte()?.into();
                    options.codes.push(code);
                    options.joined.entry(code).or_default().extend(reader.take(len)?);
                }
            }
        }
        options.codes.sort_unstable();
        Ok(options)
    }
}

fn option(code: u8, data: &[u8]) -> Result<Option<(&'static str, Value)>> {
    let text = || -> Result<Value> { Ok(String::from_utf8(data.to_vec())?.into()) };
    let address = || -> Result<Value> { Ok(Ipv4Addr::from(exactly(data)?).to_string().into()) };
    Ok(Some(match code {
        1 => ("subnet_mask", address()?),
        3 => ("router", addresses(data)?),
        6 => ("dns", addresses(data)?),
        12 => ("hostname", text()?),
        15 => ("domain_name", text()?),
        51 => ("lease_time", u32::from_be_bytes(exactly(data)?).into()),
        53 => ("message_type", exactly::<1>(data)?[0].into()),
        54 => ("server_id", address()?),
        119 => ("domain_search", domain_names(data)?.into()),
        121 => ("classless_routes", classless_routes(data)?),
        _ => return Ok(None),
    }))
}

fn addresses(data: &[u8]) -> Result<Value> {
    let (addresses, rest) = data.as_chunks::<4>();
    ensure!(rest.is_empty(), "{} bytes of IPv4 addresses", data.len());
    Ok(addresses.iter().map(|&address| Ipv4Addr::from(address).to_string()).collect())
}

/// RFC 3442: prefix length, as many octets as are significant, router.
fn classless_routes(data: &[u8]) -> Result<Value> {
    let mut reader = Reader(data);
    let mut routes = Vec::new();
    while !reader.is_empty() {
        let len = reader.byte()?;
        ensure!(len <= 32, "prefix length {len}");
        let mut dest = [0; 4];
        let significant = usize::from(len.div_ceil(8));
        dest[..significant].copy_from_slice(reader.take(significant)?);
        let dest = format!("{}/{len}", Ipv4Addr::from(dest));
        let router = Ipv4Addr::from(reader.array()?).to_string();
        routes.push(json!({ "dest": dest, "router": router }));
    }
    Ok(routes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_options_are_joined() {
        let options =
            Options::read(Reader(b"\x77\x03\x01a\x03\x00\x35\x01\x02\x77\x04net\x00\xff\x01"))
                .unwrap();
        assert!(options.ended);
        assert_eq!(options.codes, [53, 119, 119]);
        let (name, value) = option(119, &options.joined[&119]).unwrap().unwrap();
        assert_eq!((name, value), ("domain_search", json!(["a.net"])));
        assert!(Options::read(Reader(b"\x35\x02\x01")).is_err());
        assert!(!Options::read(Reader(b"\x35\x01\x01")).unwrap().ended);
    }

    #[test]
    fn routes_and_bad_sizes() {
        let data = [22, 172, 30, 4, 10, 0, 0, 1, 0, 10, 0, 0, 2];
        let routes = json!([{ "dest": "172.30.4.0/22", "router": "10.0.0.1" },
            { "dest": "0.0.0.0/0", "router": "10.0.0.2" }]);
        assert_eq!(classless_routes(&data).unwrap(), routes);
        for (code, data) in
            [(1, &[0; 3][..]), (6, &[0; 7]), (51, &[0; 5]), (53, &[]), (121, &[33, 0])]
        {
            assert!(option(code, data).is_err(), "{code}");
        }
    }
}
