// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What tracers know of the engine's events: `dtrace/lib`, written from the engine's own table.
//!
//! For each event a structure, and for each number that has a name the names: drop reasons, ends of
//! flows, reasons of cuts, TCP states, slots of metadata, commands. For DTrace they are inline
//! functions in a library; for bpftrace, maps that its first probe fills.

use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use opte::cut::CutReason;
use opte::drop_reason::DropReason;
use opte::event::{EVENTS, EventShape, FieldKind, FlowEnd};
use opte::tcp::TcpState;
use oxide_vpc_api::request::COMMANDS;
use std::fmt::Write;

const NOTICE: &str = "\
This Source Code Form is subject to the terms of the Mozilla Public
License, v. 2.0. If a copy of the MPL was not distributed with this
file, You can obtain one at https://mozilla.org/MPL/2.0/.

Written by 'cargo xtask dtrace' from opte/src/event.rs.
";

/// Numbers with names: what they are called in scripts, and the names by number.
fn names() -> Vec<(&'static str, Vec<(usize, &'static str)>)> {
    fn counted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
        names.enumerate().collect()
    }
    let slots = [
        oxide_vpc::meta::PEER_VNI.slot(),
        oxide_vpc::meta::TARGET.slot(),
        oxide_vpc::meta::GATEWAY.slot(),
        oxide_vpc::meta::TARGET_IP.slot(),
        oxide_vpc::meta::EXTERNAL_SOURCE.slot(),
    ];
    let layers = ["gateway", "firewall", "router", "nat", "overlay"];
    let mut cuts = counted(CutReason::ALL.iter().map(|reason| reason.name()));
    cuts.push((usize::from(opte::event::NO_REASON), "-"));
    vec![
        ("direction", vec![(0, "out"), (1, "in")]),
        ("layer", counted(layers.into_iter())),
        ("drop_reason", counted(DropReason::ALL.iter().map(|reason| reason.name()))),
        ("flow_end", counted(FlowEnd::ALL.iter().map(|end| end.name()))),
        ("cut_reason", cuts),
        ("tcp_state", counted(TcpState::ALL.iter().map(|state| state.name()))),
        ("slot", slots.iter().map(|slot| (slot.index(), slot.name())).collect()),
        ("command", COMMANDS.iter().map(|(code, name)| (usize::from(*code), *name)).collect()),
    ]
}

/// Name of a structure in C: `FlowOpened` is `opte_flow_opened`.
pub fn c_name(name: &str) -> String {
    let mut text = String::from("opte");
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

fn c_field(name: &str, kind: FieldKind) -> String {
    match kind {
        FieldKind::Number(bytes) => format!("uint{}_t {name}", bytes * 8),
        FieldKind::Bytes16 => format!("uint8_t {name}[16]"),
        FieldKind::Key => format!("struct opte_key_shown {name}"),
    }
}

fn structures() -> String {
    let mut text = String::from(
        "\n/* A flow key. IPv4 addresses are IPv4-mapped. For ICMP, src_port is type and code, dst_port the
 * identifier of an echo. */
struct opte_key_shown {
\tuint8_t src[16];
\tuint8_t dst[16];
\tuint16_t src_port;
\tuint16_t dst_port;
\tuint8_t protocol;
\tuint8_t family;
};\n",
    );
    for event in EVENTS {
        structure(&mut text, event);
    }
    text
}

fn structure(text: &mut String, event: &EventShape) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n/* {}:{} */", event.probe, event.text.trim_end_matches('.'));
    let _ = writeln!(text, "struct {} {{", c_name(event.name));
    // C aligns as Rust's `repr(C)` does, so that only the order matters.
    for field in event.fields {
        let _ = writeln!(text, "\t{};", c_field(field.name, field.kind));
    }
    text.push_str("};\n");
}

/// The library for DTrace.
pub fn d_library() -> String {
    let mut text = format!("/*\n{}*/\n", indented(NOTICE, " * "));
    text.push_str("\n#pragma D depends_on module xde\n");
    text.push_str(&structures());
    for (what, names) in names() {
        let _ = write!(text, "\ninline string opte_{what}[uint32_t number] =\n");
        for (number, name) in names {
            let _ = writeln!(text, "\tnumber == {number} ? \"{name}\" :");
        }
        text.push_str("\t\"?\";\n");
    }
    text
}

/// What stands in front of every script for bpftrace.
pub fn bt_library() -> String {
    let mut text = indented(NOTICE, "// ");
    text.push_str(&structures());
    // A map must be written somewhere, even if a script asks for no names.
    text.push_str("\nBEGIN {\n\t@opte[\"\", (uint64)0] = \"\";\n");
    for (what, names) in names() {
        for (number, name) in names {
            let _ = writeln!(text, "\t@opte[\"{what}\", (uint64){number}] = \"{name}\";");
        }
    }
    text.push_str("}\n\nEND {\n\tclear(@opte);\n}\n");
    text
}

fn indented(text: &str, with: &str) -> String {
    text.lines().map(|line| format!("{}\n", format!("{with}{line}").trim_end())).collect()
}

/// Writes both libraries; with `check`, only says whether they are up to date.
pub fn run(check: bool) -> Result<bool> {
    for (name, text) in [("opte.d", d_library()), ("opte.bt", bt_library())] {
        let path = root().join("dtrace/lib").join(name);
        if check {
            let known = std::fs::read_to_string(&path).unwrap_or_default();
            ensure!(known == text, "{} is out of date: run 'cargo xtask dtrace'", path.display());
        } else {
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
