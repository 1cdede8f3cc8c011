// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Compares one answer with what was recorded. Everything here is a function of its arguments.

use super::checksum::ChecksumField;
use super::contract::Outcome;
use super::decode;
use super::fields::{hex, layout};
use super::model::{
    Allowed, AlsoOk, Bind, Expected, ExpectedFrame, FrameKind, PacketStep, Place, VariableField,
};
use anyhow::{Context, Result};
use opte_api::Direction;
use std::collections::BTreeMap;
use std::fmt;

/// Values of variables by name.
pub type Variables = BTreeMap<String, Vec<u8>>;

/// A difference between what was recorded and what came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mismatch {
    /// What differs: a field of the frame, or a check.
    pub field: String,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub seen: String,
}

impl Mismatch {
    /// A difference.
    pub fn new(
        field: impl Into<String>,
        expected: impl fmt::Display,
        seen: impl fmt::Display,
    ) -> Self {
        Self { field: field.into(), expected: expected.to_string(), seen: seen.to_string() }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, seen {}", self.field, self.expected, self.seen)
    }
}

/// The frame to send: variables are written into it, then its checksums are computed anew.
pub fn input(packet: &PacketStep, variables: &Variables) -> Result<Vec<u8>> {
    let mut bytes = packet.bytes.clone();
    for VariableField { place, variable } in &packet.subst {
        let value = variables.get(variable).with_context(|| {
            format!("variable '{variable}' has no value: its step gave no such frame")
        })?;
        match place.of_mut(&mut bytes) {
            Some(field) if field.len() == value.len() => field.copy_from_slice(value),
            _ => anyhow::bail!("variable '{variable}' has {} bytes", value.len()),
        }
    }
    for checksum in &packet.checksums {
        checksum.fill(&mut bytes).with_context(|| format!("{:?} checksum", checksum.kind()))?;
    }
    Ok(bytes)
}

/// All differences between the recorded answer and `outcome`.
pub fn compare(packet: &PacketStep, outcome: &Outcome, variables: &Variables) -> Vec<Mismatch> {
    let (expected, seen) = match (&packet.expected, outcome.as_frame()) {
        (Expected::Drop, None) => return Vec::new(),
        (Expected::Drop, Some(_)) => {
            let stage = packet.stage.as_ref().map_or(String::new(), |stage| format!(" ({stage})"));
            return vec![Mismatch::new("result", format!("drop{stage}"), outcome)];
        }
        (Expected::Frame(frame), Some((kind, seen))) if kind == frame.kind => (frame, seen),
        (Expected::Frame(frame), _) => {
            let expected = format!("{} of {} bytes", frame.kind, frame.output.len());
            return vec![Mismatch::new("result", expected, outcome)];
        }
    };
    let tunnelled = is_tunnelled(packet.direction, expected.kind);
    let mut all = compare_bytes(expected, &expected.output, seen, tunnelled);
    compare_choices(expected, seen, &mut all);
    for bind in &expected.bind {
        compare_bind(bind, expected, seen, variables, &mut all);
    }
    for VariableField { place, variable } in &expected.expect_vars {
        let value = variables.get(variable).map_or("a value of an earlier step".into(), |v| hex(v));
        if place.of(seen) != variables.get(variable).map(Vec::as_slice) {
            all.push(Mismatch::new(variable_name(variable, place), value, show(*place, seen)));
        }
    }
    compare_checksums(expected, seen, tunnelled, &mut all);
    compare_decoded(expected, seen, &mut all);
    all
}

/// The recorded answer is disputed, and `outcome` is another one that is accepted.
pub fn is_also_ok(packet: &PacketStep, outcome: &Outcome) -> bool {
    let accepts = |also: &AlsoOk| match (also, outcome.as_frame()) {
        (AlsoOk::Any, _) | (AlsoOk::Drop, None) => true,
        (AlsoOk::Frame(kind, output), Some((seen_kind, seen))) if *kind == seen_kind => {
            match (output, &packet.expected) {
                (None, _) => true,
                (Some(output), Expected::Frame(frame)) => {
                    compare_bytes(frame, output, seen, false).is_empty()
                }
                (Some(output), Expected::Drop) => output == seen,
            }
        }
        _ => false,
    };
    packet.also_ok.iter().any(accepts)
}

/// Keeps the variables that the answer binds, good or not, so that later steps can go on.
pub fn bind(packet: &PacketStep, outcome: &Outcome, variables: &mut Variables) {
    let Expected::Frame(frame) = &packet.expected else { return };
    let Some((kind, seen)) = outcome.as_frame() else { return };
    for bind in frame.bind.iter().filter(|_| kind == frame.kind) {
        if let Some(value) = bind.place.of(seen) {
            variables.insert(bind.variable.clone(), value.to_vec());
        }
    }
}

/// The frame is an outer one.
fn is_tunnelled(direction: Direction, kind: FrameKind) -> bool {
    direction == Direction::Out && kind == FrameKind::Forward
}

fn compare_bytes(
    frame: &ExpectedFrame,
    output: &[u8],
    seen: &[u8],
    tunnelled: bool,
) -> Vec<Mismatch> {
    let mut all = Vec::new();
    if output.len() != seen.len() && !frame.free_length {
        all.push(Mismatch::new("length", output.len(), seen.len()));
    }
    let differs = |at: usize| match (output.get(at), seen.get(at), frame.mask.get(at)) {
        (Some(expected), Some(seen), Some(mask)) => (expected ^ seen) & mask != 0,
        _ => false,
    };
    if !(0..output.len()).any(differs) {
        return all;
    }
    for field in layout(output, tunnelled) {
        if let Some(first) = field.bytes.clone().find(|at| differs(*at)) {
            let masked = field.bytes.clone().any(|at| frame.mask.get(at) != Some(&0xff));
            let mut name = field.name.clone();
            if masked {
                let mask = frame.mask.get(field.bytes.clone()).unwrap_or_default();
                name.push_str(&format!(" (mask {})", hex(mask)));
            }
            // Long fields are shown from their first difference.
            let shown = match field.bytes.len() > 16 && field.name.ends_with("payload") {
                true => {
                    name.push_str(&format!(" at offset {first}"));
                    field.starting_at(first)
                }
                false => field,
            };
            all.push(Mismatch::new(name, shown.show(output), shown.show(seen)));
        }
    }
    all
}

fn compare_choices(expected: &ExpectedFrame, seen: &[u8], all: &mut Vec<Mismatch>) {
    for one_of in &expected.one_of {
        let value = one_of.place.of(seen);
        if !one_of.values.iter().any(|good| Some(good.as_slice()) == value) {
            let name = format!("bytes at offset {}", one_of.place.offset);
            all.push(Mismatch::new(name, one_of_values(&one_of.values), show(one_of.place, seen)));
        }
    }
}

fn compare_bind(
    bind: &Bind,
    expected: &ExpectedFrame,
    seen: &[u8],
    variables: &Variables,
    all: &mut Vec<Mismatch>,
) {
    let name = variable_name(&bind.variable, &bind.place);
    let Some(value) = bind.place.of(seen) else {
        all.push(Mismatch::new(name, "a value", "nothing"));
        return;
    };
    let number = value.iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
    match &bind.allowed {
        Allowed::Range(first, last) if !(*first..=*last).contains(&number) => {
            all.push(Mismatch::new(name.as_str(), format!("{first} to {last}"), number));
        }
        Allowed::Values(values) if values.iter().all(|good| good != value) => {
            all.push(Mismatch::new(name.as_str(), one_of_values(values), hex(value)));
        }
        _ => {}
    }
    for other in &bind.differs_from {
        // Another variable of the same frame, or one of an earlier step. An earlier step that gave
        // no frame has failed already; there is no value to differ from then.
        let same_frame = expected.bind.iter().find(|bind| bind.variable == *other);
        let other_value = match same_frame {
            Some(bind) => bind.place.of(seen),
            None => variables.get(other).map(Vec::as_slice),
        };
        if other_value == Some(value) {
            let expected = format!("another value than '{other}'");
            all.push(Mismatch::new(name.as_str(), expected, hex(value)));
        }
    }
}

fn compare_checksums(
    expected: &ExpectedFrame,
    seen: &[u8],
    tunnelled: bool,
    all: &mut Vec<Mismatch>,
) {
    let mut verify = |name: String, checksum: &ChecksumField| {
        if let Err(error) = checksum.verify(seen) {
            all.push(Mismatch::new(name, "a checksum that verifies", format!("{error:#}")));
        }
    };
    for checksum in &expected.valid_checksums {
        let at = checksum.position().unwrap_or_default();
        verify(format!("{:?} checksum at offset {at}", checksum.kind()), checksum);
    }
    // The outer checksum may be absent (RFC 8200 section 8.1 allows it for tunnels), not wrong.
    if tunnelled && ChecksumField::OUTER_UDP.value(seen) != Some(0) {
        verify("outer.udp.checksum".into(), &ChecksumField::OUTER_UDP);
    }
}

fn compare_decoded(expected: &ExpectedFrame, seen: &[u8], all: &mut Vec<Mismatch>) {
    let Some(any) = expected.decoded.keys().next() else { return };
    let decoded = match decode::decode_for(any, seen) {
        Ok(decoded) => decoded,
        Err(error) => {
            all.push(Mismatch::new(any, "an answer that can be decoded", format!("{error:#}")));
            return;
        }
    };
    for (name, value) in &expected.decoded {
        match decoded.get(name) {
            Some(_) if expected.decoded_free.contains(name) => {}
            Some(seen) if seen == value => {}
            Some(seen) => all.push(Mismatch::new(name, value, seen)),
            None => all.push(Mismatch::new(name, value, "nothing")),
        }
    }
}

fn variable_name(variable: &str, place: &Place) -> String {
    format!("variable '{variable}' at offset {}", place.offset)
}

fn one_of_values(values: &[Vec<u8>]) -> String {
    let values: Vec<_> = values.iter().map(|value| hex(value)).collect();
    format!("one of {}", values.join(", "))
}

fn show(place: Place, frame: &[u8]) -> String {
    place.of(frame).map_or("nothing".into(), hex)
}
