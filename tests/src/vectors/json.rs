// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Reads scenarios from files.
//!
//! Strict: an unknown field, a missing one, a length that does not fit or a variable that nothing
//! bound is an error that names the file and the step.

mod change;
mod packet;
mod port;

use super::contract::Change;
use super::model::{Action, Expected, PacketStep, Scenario, Step};
use anyhow::{Context, Result, anyhow, bail, ensure};
use change::RawChange;
use packet::RawPacket;
use port::RawPort;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Reads every `*.json` of a folder, in the order of their names.
pub fn read_folder(folder: &Path) -> Result<Vec<Scenario>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    ensure!(!files.is_empty(), "{}: no *.json file here", folder.display());
    files.sort();
    files.iter().map(|file| read_file(file)).collect()
}

/// Reads one file.
pub fn read_file(file: &Path) -> Result<Scenario> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    read_text(&text).with_context(|| file.display().to_string())
}

/// Reads a scenario from its text.
pub fn read_text(text: &str) -> Result<Scenario> {
    let raw: RawScenario = serde_json::from_str(text)?;
    let mut steps = Vec::new();
    for (at, step) in raw.steps.into_iter().enumerate() {
        steps.push(read_step(step).with_context(|| format!("step {at}"))?);
    }
    check_variables(&steps)?;
    let RawScenario { name, area, about, dispute, port, .. } = raw;
    Ok(Scenario { name, area, about, dispute, port: port.convert(), steps })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScenario {
    name: String,
    area: String,
    about: String,
    dispute: Option<String>,
    port: RawPort,
    steps: Vec<Map<String, Value>>,
}

fn read_step(mut step: Map<String, Value>) -> Result<Step> {
    let op = match step.remove("op") {
        Some(Value::String(op)) => op,
        _ => bail!("'op' is missing"),
    };
    let read = |step| read_action(&op, step).with_context(|| op.clone());
    if op == "packet" {
        let note = step.get("note").and_then(Value::as_str).unwrap_or_default().to_owned();
        return Ok(Step { action: read(step)?, refused: false, note });
    }
    let refused = match step.remove("expect") {
        None => false,
        Some(Value::String(word)) if word == "error" => true,
        Some(other) => bail!("expect is {other}, not \"error\""),
    };
    let note = match step.remove("note") {
        None => String::new(),
        Some(Value::String(note)) => note,
        Some(other) => bail!("note is {other}"),
    };
    let action = read(step)?;
    ensure!(!refused || matches!(action, Action::Change(_)), "{op} cannot be refused");
    Ok(Step { action, refused, note })
}

fn read_action(op: &str, mut step: Map<String, Value>) -> Result<Action> {
    Ok(match op {
        "packet" => {
            let raw: RawPacket = serde_json::from_value(Value::Object(step))?;
            Action::Packet(Box::new(raw.convert()?))
        }
        "advance_time" => {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Advance {
                ms: u64,
            }
            let Advance { ms } = serde_json::from_value(Value::Object(step))?;
            Action::Advance(ms)
        }
        "expire_flows" => match step.keys().next() {
            None => Action::Expire,
            Some(key) => bail!("unknown field '{key}'"),
        },
        _ => {
            step.insert("op".into(), op.into());
            let raw: RawChange = serde_json::from_value(Value::Object(step))?;
            Action::Change(Change::try_from(raw)?)
        }
    })
}

/// Every variable that is used was bound by an earlier step, or by the same one where it is only
/// told apart.
fn check_variables(steps: &[Step]) -> Result<()> {
    let mut bound = BTreeSet::new();
    for (at, step) in steps.iter().enumerate() {
        let Action::Packet(packet) = &step.action else { continue };
        check_packet_variables(packet, &mut bound).with_context(|| format!("step {at}"))?;
    }
    Ok(())
}

fn check_packet_variables<'a>(packet: &'a PacketStep, bound: &mut BTreeSet<&'a str>) -> Result<()> {
    let known = |bound: &BTreeSet<&str>, name: &'a String| match bound.contains(name.as_str()) {
        true => Ok(()),
        false => Err(anyhow!("variable '{name}' is not bound by an earlier step")),
    };
    for field in &packet.subst {
        known(bound, &field.variable)?;
    }
    let Expected::Frame(frame) = &packet.expected else { return Ok(()) };
    for field in &frame.expect_vars {
        known(bound, &field.variable)?;
    }
    bound.extend(frame.bind.iter().map(|bind| bind.variable.as_str()));
    for name in frame.bind.iter().flat_map(|bind| &bind.differs_from) {
        known(bound, name)?;
    }
    Ok(())
}

/// A field that may be null but not absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A scenario with these steps, for tests.
#[cfg(test)]
pub(super) fn sample(steps: &str) -> Result<Scenario> {
    const PORT: &str = r#"{"mac":"a8:40:25:00:00:01","vni":7,"underlay_ip":"fd00::1",
        "gateway_mac":"a8:40:25:ff:77:77","mtu":1500,"ipv4":null,"ipv6":{
        "private_ip":"fd01::5","subnet":"fd01::/64","gateway_ip":"fd01::1",
        "external":{"floating":[],"ephemeral":null,"snat":null},
        "attached_subnets":[{"subnet":"fd02::/64","external":true}],"transit_ips":[]},
        "boundary":{"inner_mac":"a8:40:25:77:77:77"},"dhcp":{"hostname":null,"host_domain":null,
        "domain_search":[],"dns4":[],"dns6":[]}}"#;
    read_text(&format!(r#"{{"name":"n","area":"a","about":"b","port":{PORT},"steps":[{steps}]}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_and_its_steps() {
        let scenario = sample(
            r#"{"op":"add_firewall_rule","rule":{"direction":"in","action":"allow","priority":7,
            "hosts":"subnet fd00::/8","protocol":"icmpv6","ports":null,"icmp_type":1,
            "icmp_codes":[0,4]}},
            {"op":"add_route","dest":"ff00::/8","target":{"kind":"drop"},"class":"system",
             "expect":"error"},
            {"op":"packet","dir":"in","bytes":"00ff","result":"parse_error","note":"short"}"#,
        )
        .unwrap();
        assert_eq!(scenario.port.attached_subnets.len(), 1);
        let [rule, route, packet] = &scenario.steps[..] else { panic!("three steps") };
        let Action::Change(Change::AddFirewallRule(rule)) = &rule.action else { panic!("rule") };
        let text = "dir=in action=allow priority=7 hosts=subnet=fd00::/8 protocol=icmp6:1,0-4 \
                    port=any";
        assert_eq!(rule.to_string(), text);
        assert!(route.refused);
        let Action::Packet(packet) = &packet.action else { panic!("packet") };
        assert_eq!(packet.bytes, [0, 0xff]);
        assert!(matches!(packet.expected, Expected::Drop));
    }

    #[test]
    fn surprises_name_the_step_and_the_field() {
        let packet = r#""op":"packet","dir":"out","bytes":"00","note":"n""#;
        let frame = r#""result":"forward","output":"0011","mask":"ffff""#;
        for (step, words) in [
            (r#"{"op":"set_colour"}"#.to_owned(), "set_colour"),
            (r#"{"op":"expire_flows","ms":1}"#.to_owned(), "unknown field 'ms'"),
            (r#"{"op":"advance_time","ms":1,"expect":"error"}"#.to_owned(), "cannot be refused"),
            (format!(r#"{{{packet},"result":"lost"}}"#), "lost"),
            (format!(r#"{{{packet},"result":"drop","output":"00","mask":"ff"}}"#), "output"),
            (format!(r#"{{{packet},"result":"forward","output":"00","mask":"ffff"}}"#), "mask"),
            (format!(r#"{{{packet},{frame},"colour":1}}"#), "colour"),
            (
                format!(r#"{{{packet},{frame},"expect_vars":[{{"offset":0,"len":1,"var":"p"}}]}}"#),
                "'p' is not bound",
            ),
            (
                format!(r#"{{{packet},{frame},"bind":{{"p":{{"offset":1,"len":2}}}}}}"#),
                "beyond the output",
            ),
        ] {
            let error = format!("{:#}", sample(&step).unwrap_err());
            assert!(error.contains("step 0") && error.contains(words), "{step}: {error}");
        }
        let packet = format!("{{{packet},{frame}}}");
        assert!(sample(&packet).is_ok(), "{packet}");
    }
}
