// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Router advertisements (RFC 4861, section 4.2).

use super::{Decoded, Reader, ip_payload};
use anyhow::{Result, ensure};
use opte_api::MacAddr;
use serde_json::Value;

const ICMPV6: u8 = 58;
const ROUTER_ADVERTISEMENT: u8 = 134;

/// Decodes an advertisement.
pub(super) fn decode(frame: &[u8]) -> Result<Decoded> {
    let mut reader = Reader(ip_payload(frame, ICMPV6)?);
    let mut decoded = Decoded::new();
    let mut put = |name: &str, value: Value| decoded.insert(format!("ra.{name}"), value);
    let [kind, code] = reader.array()?;
    ensure!(kind == ROUTER_ADVERTISEMENT && code == 0, "ICMPv6 type {kind}, code {code}");
    let _checksum = reader.word()?;
    put("cur_hop_limit", reader.byte()?.into());
    let flags = reader.byte()?;
    put("managed", (flags & 0x80 != 0).into());
    put("other", (flags & 0x40 != 0).into());
    put("router_lifetime", reader.word()?.into());
    put("reachable_time", reader.long()?.into());
    put("retrans_timer", reader.long()?.into());

    let mut present = Vec::new();
    while !reader.is_empty() {
        let [code, units] = reader.array()?;
        // Section 4.6: the length counts units of eight bytes and includes these two.
        ensure!(units > 0, "option {code} has no length");
        let mut data = Reader(reader.take(usize::from(units) * 8 - 2)?);
        present.push(code);
        match code {
            1 => put("source_lladdr", MacAddr(data.array()?).to_string().into()),
            5 => {
                let _reserved = data.word()?;
                put("mtu", data.long()?.into())
            }
            _ => None,
        };
    }
    present.sort_unstable();
    put("options_present", present.into());
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_advertisement() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        frame.extend([0; 32]);
        frame.extend([134, 0, 0, 0, 64, 0x80, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2]);
        frame.extend([5, 1, 0, 0, 0, 0, 5, 220, 1, 1, 2, 0, 0, 0, 0, 7]);
        let decoded = decode(&frame).unwrap();
        for (name, value) in [
            ("ra.managed", json!(true)),
            ("ra.other", json!(false)),
            ("ra.router_lifetime", json!(9)),
            ("ra.retrans_timer", json!(2)),
            ("ra.mtu", json!(1500)),
            ("ra.source_lladdr", json!("02:00:00:00:00:07")),
            ("ra.options_present", json!([1, 5])),
        ] {
            assert_eq!(decoded[name], value, "{name}");
        }
        frame[71] = 0;
        assert!(decode(&frame).is_err());
    }
}
