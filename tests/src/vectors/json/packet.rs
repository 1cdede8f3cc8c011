// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packet steps as they stand in a file.

use crate::vectors::checksum::{ChecksumField, ChecksumKind};
use crate::vectors::model::{
    Allowed, AlsoOk, Bind, Expected, ExpectedFrame, FrameKind, OneOf, PacketStep, Place,
    VariableField,
};
use anyhow::{Context, Result, bail, ensure};
use opte_api::Direction;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

/// Fields whose names begin with `_` describe the recording for readers; the mask and the checks
/// say the same.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPacket {
    dir: Direction,
    bytes: Hex,
    result: RawResult,
    #[serde(rename = "note")]
    _note: String,
    stage: Option<String>,
    output: Option<Hex>,
    mask: Option<Hex>,
    #[serde(default, rename = "free")]
    _free: Vec<String>,
    #[serde(rename = "outer_udp_checksum_zero")]
    _outer_udp_checksum_zero: Option<bool>,
    #[serde(default)]
    free_length: bool,
    #[serde(default)]
    valid_checksums: Vec<RawChecksum>,
    #[serde(default)]
    one_of: Vec<RawOneOf>,
    #[serde(default)]
    bind: BTreeMap<String, RawBind>,
    #[serde(default)]
    expect_vars: Vec<RawVariable>,
    #[serde(default)]
    subst: Vec<RawVariable>,
    #[serde(default)]
    checksums: Vec<RawChecksum>,
    #[serde(default)]
    decoded: BTreeMap<String, Value>,
    #[serde(default)]
    decoded_free: BTreeSet<String>,
    dispute: Option<String>,
    #[serde(default)]
    also_ok: Vec<RawAlsoOk>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawResult {
    Forward,
    Hairpin,
    Drop,
    ParseError,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawAccepted {
    Forward,
    Hairpin,
    Drop,
    ParseError,
    Any,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAlsoOk {
    result: RawAccepted,
    output: Option<Hex>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChecksum {
    kind: ChecksumKind,
    l3_offset: usize,
    l4_offset: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOneOf {
    offset: usize,
    len: usize,
    values: Vec<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariable {
    offset: usize,
    len: usize,
    var: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBind {
    offset: usize,
    len: usize,
    range: Option<(u64, u64)>,
    r#in: Option<Vec<Hex>>,
    #[serde(default)]
    differs_from: Vec<String>,
}

/// Bytes written as hexadecimal digits.
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pair = |pair: &[u8]| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        };
        let bytes: Option<_> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("not pairs of hexadecimal digits"))
    }
}

impl RawPacket {
    pub(super) fn convert(mut self) -> Result<PacketStep> {
        ensure!(
            self.dispute.is_some() || self.also_ok.is_empty(),
            "also_ok without a dispute on the step"
        );
        let kind = match self.result {
            RawResult::Forward => Some(FrameKind::Forward),
            RawResult::Hairpin => Some(FrameKind::Reply),
            RawResult::Drop | RawResult::ParseError => None,
        };
        let expected = match (kind, self.output.take(), self.mask.take()) {
            (Some(kind), Some(Hex(output)), Some(Hex(mask))) => {
                Expected::Frame(Box::new(self.expected_frame(kind, output, mask)?))
            }
            (None, None, None) => {
                ensure!(!self.checks_a_frame(), "checks of an output, but nothing comes out");
                Expected::Drop
            }
            _ => bail!("output and mask belong to forward and hairpin, and to nothing else"),
        };
        let bytes = self.bytes.0;
        Ok(PacketStep {
            direction: self.dir,
            subst: variables(self.subst, &bytes).context("subst")?,
            checksums: convert_checksums(self.checksums).context("checksums")?,
            bytes,
            expected,
            stage: self.stage,
            dispute: self.dispute,
            also_ok: self.also_ok.into_iter().map(RawAlsoOk::convert).collect::<Result<_>>()?,
        })
    }

    fn checks_a_frame(&self) -> bool {
        self.free_length
            || !self.valid_checksums.is_empty()
            || !self.one_of.is_empty()
            || !self.bind.is_empty()
            || !self.expect_vars.is_empty()
            || !self.decoded.is_empty()
            || !self.decoded_free.is_empty()
    }

    /// Takes everything that checks the output.
    fn expected_frame(
        &mut self,
        kind: FrameKind,
        output: Vec<u8>,
        mask: Vec<u8>,
    ) -> Result<ExpectedFrame> {
        let (is, needs) = (mask.len(), output.len());
        ensure!(is == needs, "the mask has {is} bytes, the output {needs}");
        let one_of = take(&mut self.one_of).into_iter().map(|raw| raw.convert(&output));
        let bind = take(&mut self.bind).into_iter().map(|(name, raw)| raw.convert(name, &output));
        Ok(ExpectedFrame {
            kind,
            free_length: self.free_length,
            valid_checksums: convert_checksums(take(&mut self.valid_checksums))
                .context("valid_checksums")?,
            one_of: one_of.collect::<Result<_>>().context("one_of")?,
            bind: bind.collect::<Result<_>>().context("bind")?,
            expect_vars: variables(take(&mut self.expect_vars), &output).context("expect_vars")?,
            decoded: take(&mut self.decoded),
            decoded_free: take(&mut self.decoded_free),
            output,
            mask,
        })
    }
}

impl RawAlsoOk {
    fn convert(self) -> Result<AlsoOk> {
        let output = self.output.map(|Hex(output)| output);
        Ok(match (self.result, output) {
            (RawAccepted::Forward, output) => AlsoOk::Frame(FrameKind::Forward, output),
            (RawAccepted::Hairpin, output) => AlsoOk::Frame(FrameKind::Reply, output),
            (RawAccepted::Drop | RawAccepted::ParseError, None) => AlsoOk::Drop,
            (RawAccepted::Any, None) => AlsoOk::Any,
            _ => bail!("also_ok: an output belongs to forward and hairpin only"),
        })
    }
}

fn convert_checksums(raw: Vec<RawChecksum>) -> Result<Vec<ChecksumField>> {
    raw.into_iter().map(|raw| ChecksumField::new(raw.kind, raw.l3_offset, raw.l4_offset)).collect()
}

fn variables(raw: Vec<RawVariable>, frame: &[u8]) -> Result<Vec<VariableField>> {
    raw.into_iter()
        .map(|RawVariable { offset, len, var }| {
            let place = place(offset, len, frame)?;
            Ok(VariableField { place, variable: var })
        })
        .collect()
}

fn place(offset: usize, len: usize, frame: &[u8]) -> Result<Place> {
    let place = Place { offset, len };
    ensure!(len > 0, "no bytes at offset {offset}");
    ensure!(place.of(frame).is_some(), "{len} bytes at offset {offset} lie beyond the output");
    Ok(place)
}

fn values(raw: Vec<Hex>, len: usize) -> Result<Vec<Vec<u8>>> {
    ensure!(!raw.is_empty(), "no values");
    ensure!(raw.iter().all(|Hex(value)| value.len() == len), "a value is not {len} bytes long");
    Ok(raw.into_iter().map(|Hex(value)| value).collect())
}

impl RawOneOf {
    fn convert(self, output: &[u8]) -> Result<OneOf> {
        let place = place(self.offset, self.len, output)?;
        Ok(OneOf { place, values: values(self.values, self.len)? })
    }
}

impl RawBind {
    fn convert(self, variable: String, output: &[u8]) -> Result<Bind> {
        let place = place(self.offset, self.len, output)?;
        let allowed = match (self.range, self.r#in) {
            (None, None) => Allowed::Any,
            (Some((first, last)), None) => {
                ensure!(self.len <= 8 && first <= last, "'{variable}': a bad range");
                Allowed::Range(first, last)
            }
            (None, Some(raw)) => Allowed::Values(values(raw, self.len)?),
            (Some(_), Some(_)) => bail!("'{variable}': both range and in"),
        };
        Ok(Bind { place, variable, allowed, differs_from: self.differs_from })
    }
}
