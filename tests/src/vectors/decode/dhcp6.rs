// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! DHCP for IPv6 (RFC 8415).

use super::{Decoded, Reader, digits, domain_names, exactly, udp_payload};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;

/// Decodes a server's answer.
pub(super) fn decode(frame: &[u8]) -> Result<Decoded> {
    let mut reader = Reader(udp_payload(frame, 547, 546)?);
    let mut decoded = Decoded::new();
    let mut put = |name: &str, value: Value| decoded.insert(format!("dhcpv6.{name}"), value);
    put("message_type", reader.byte()?.into());
    put("transaction_id", digits(reader.take(3)?).into());

    let mut codes = Vec::new();
    let mut associations = Vec::new();
    let mut joined: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    while !reader.is_empty() {
        let (code, data) = read_option(&mut reader)?;
        codes.push(code);
        match code {
            IA_NA => associations.push(association(data).context("IA_NA")?),
            _ => joined.entry(code).or_default().extend(data),
        }
    }
    codes.sort_unstable();
    put("options_present", codes.into());
    if !associations.is_empty() {
        put("ia_na", associations.into());
    }
    for (code, data) in joined {
        let values = option(code, &data).with_context(|| format!("option {code}"))?;
        for (name, value) in values {
            put(name, value);
        }
    }
    Ok(decoded)
}

fn read_option<'a>(reader: &mut Reader<'a>) -> Result<(u16, &'a [u8])> {
    let code = reader.word()?;
    let len = reader.word()?.into();
    Ok((code, reader.take(len)?))
}

fn association(data: &[u8]) -> Result<Value> {
    let mut reader = Reader(data);
    let iaid = digits(reader.take(4)?);
    let (t1, t2) = (reader.long()?, reader.long()?);
    let mut addresses = Vec::new();
    while !reader.is_empty() {
        if let (IA_ADDRESS, data) = read_option(&mut reader)? {
            let mut address = Reader(data);
            addresses.push(json!({
                "address": Ipv6Addr::from(address.array::<16>()?).to_string(),
                "preferred_lifetime": address.long()?,
                "valid_lifetime": address.long()?,
            }));
        }
    }
    Ok(json!({ "iaid": iaid, "t1": t1, "t2": t2, "addresses": addresses }))
}

fn option(code: u16, data: &[u8]) -> Result<Vec<(&'static str, Value)>> {
    Ok(match code {
        1 => vec![("client_id", digits(data).into())],
        2 => vec![("server_id", digits(data).into())],
        14 => {
            exactly::<0>(data)?;
            vec![("rapid_commit", true.into())]
        }
        23 => {
            let (addresses, rest) = data.as_chunks::<16>();
            ensure!(rest.is_empty(), "{} bytes of IPv6 addresses", data.len());
            let text = addresses.iter().map(|&address| Ipv6Addr::from(address).to_string());
            vec![("dns", text.collect())]
        }
        24 => vec![("domain_search", domain_names(data)?.into())],
        // RFC 4704: flags, then one name.
        39 => {
            let (flags, name) = data.split_first().context("no flags")?;
            vec![("fqdn_flags", (*flags).into()), ("fqdn", domain_names(name)?.into())]
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_association_with_an_address() {
        let mut data = b"\0\0\x0f\xf7\0\0\0\x01\0\0\0\x02\0\x0d\0\x02\0\0\0\x05\0\x18".to_vec();
        data.extend([0; 15]);
        data.extend(b"\x09\0\0\0\x03\0\0\0\x04");
        let decoded = association(&data).unwrap();
        let address = json!({ "address": "::9", "preferred_lifetime": 3, "valid_lifetime": 4 });
        let right = json!({ "iaid": "00000ff7", "t1": 1, "t2": 2, "addresses": [address] });
        assert_eq!(decoded, right);
        assert!(association(&data[..data.len() - 1]).is_err());
    }

    #[test]
    fn options() {
        assert_eq!(option(23, &[]).unwrap(), [("dns", json!([]))]);
        let fqdn = [("fqdn_flags", json!(3)), ("fqdn", json!(["a.b"]))];
        assert_eq!(option(39, b"\x03\x01a\x01b\0").unwrap(), fqdn);
        assert!(option(23, &[0; 17]).is_err());
        assert!(option(14, &[0]).is_err());
    }
}
