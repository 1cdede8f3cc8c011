// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Proof that the checker can fail, on every step of the vectors: a good answer passes, and the
//! same answer with one thing wrong does not.

mod decoded;

use super::check::{Mismatch, Variables, compare, is_also_ok};
use super::checksum::ChecksumField;
use super::contract::Outcome;
use super::model::{
    Action, Allowed, AlsoOk, Expected, ExpectedFrame, FrameKind, PacketStep, Place, Scenario,
};
use super::oracle::{Oracle, answer, fill_checksums};
use super::play::{Dispute, Verdict, play};
use super::report::Tally;
use super::{folder, json};
use opte_api::Direction;
use std::collections::BTreeMap;
use std::fs;

fn scenarios(test: &str) -> Vec<Scenario> {
    match folder() {
        Some(folder) => json::read_folder(&folder).unwrap(),
        None => {
            println!("{test}: skipped, no folder of vectors");
            Vec::new()
        }
    }
}

#[test]
fn oracle_passes_every_step() {
    for scenario in scenarios("oracle_passes_every_step") {
        let played = play(&scenario, &|_| Ok(Box::new(Oracle::new(&scenario))));
        assert!(played.stopped.is_none());
        for check in &played.checks {
            let good =
                matches!(check.verdict, Verdict::Passed | Verdict::Disputed(Dispute::Followed));
            assert!(good, "{} step {}: {:?}", scenario.name, check.step, check.verdict);
        }
    }
}

/// The table beside the folder, where there is one, was made by another program.
#[test]
fn counts_agree_with_the_index() {
    let scenarios = scenarios("counts_agree_with_the_index");
    let index = folder().map(|folder| folder.join("../INDEX.tsv"));
    let Some(Ok(index)) = index.map(fs::read_to_string) else {
        println!("counts_agree_with_the_index: skipped, no INDEX.tsv");
        return;
    };
    let rows: BTreeMap<_, _> = index
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|row| (row[0].to_owned(), row))
        .map(|(name, row)| (name, row.into_iter().map(str::to_owned).collect::<Vec<_>>()))
        .collect();
    for scenario in scenarios {
        let row = &rows[&scenario.name];
        let packets: Vec<_> = packets(&scenario).collect();
        let kind = |kind: Option<FrameKind>| {
            let is = |packet: &&&PacketStep| match &packet.expected {
                Expected::Frame(frame) => kind == Some(frame.kind),
                Expected::Drop => kind.is_none(),
            };
            packets.iter().filter(is).count().to_string()
        };
        let played = play(&scenario, &|_| Ok(Box::new(Oracle::new(&scenario))));
        let disputed = match Tally::from(&played).disputed {
            all if all == packets.len() && row[8] == "all" => "all".to_owned(),
            some => some.to_string(),
        };
        let counted = [
            scenario.area.clone(),
            row[2].clone(),
            scenario.steps.len().to_string(),
            packets.len().to_string(),
            kind(Some(FrameKind::Forward)),
            kind(Some(FrameKind::Reply)),
            kind(None),
            disputed,
        ];
        assert_eq!(row[1..], counted, "{}", scenario.name);
    }
}

/// Calls `test` for every packet with a good answer to it and the variables before it.
fn for_each_answer(name: &str, mut test: impl FnMut(&Sample<'_>)) {
    for scenario in &scenarios(name) {
        let mut variables = Variables::new();
        for packet in packets(scenario) {
            let before = variables.clone();
            let good = answer(packet, &mut variables);
            let sample = Sample { scenario: &scenario.name, packet, variables: &before, good };
            assert_eq!(sample.compare(&sample.good), [], "{}", sample.place());
            test(&sample);
        }
    }
}

fn packets(scenario: &Scenario) -> impl Iterator<Item = &PacketStep> {
    scenario.steps.iter().filter_map(|step| match &step.action {
        Action::Packet(packet) => Some(&**packet),
        _ => None,
    })
}

struct Sample<'a> {
    scenario: &'a str,
    packet: &'a PacketStep,
    variables: &'a Variables,
    good: Outcome,
}

impl Sample<'_> {
    fn place(&self) -> String {
        format!("{}: {} {:02x?}", self.scenario, self.packet.direction, self.packet.bytes)
    }

    fn compare(&self, outcome: &Outcome) -> Vec<Mismatch> {
        compare(self.packet, outcome, self.variables)
    }

    /// What is expected, and the good frame.
    fn frame(&self) -> Option<(&ExpectedFrame, Vec<u8>)> {
        let (_, good) = self.good.as_frame()?;
        match &self.packet.expected {
            Expected::Frame(expected) => Some((expected, good.to_vec())),
            Expected::Drop => None,
        }
    }

    fn tunnelled(&self) -> bool {
        matches!(self.good, Outcome::Forward(_)) && self.packet.direction == Direction::Out
    }

    /// The frame differs from the recorded one, and a difference in this field is among those.
    fn assert_caught(&self, expected: &ExpectedFrame, frame: Vec<u8>, field: &str) {
        let caught = self.compare(&Outcome::frame(expected.kind, frame));
        let named = caught.iter().any(|mismatch| mismatch.field.contains(field));
        assert!(named, "{}: '{field}' is not among {caught:?}", self.place());
    }

    /// The same, after checksums are made right again, so that only this field can tell.
    fn assert_caught_alone(&self, expected: &ExpectedFrame, mut frame: Vec<u8>, field: &str) {
        fill_checksums(expected, self.tunnelled(), &mut frame);
        self.assert_caught(expected, frame, field);
    }
}

#[test]
fn every_unmasked_byte_is_compared() {
    for_each_answer("every_unmasked_byte_is_compared", |sample| {
        let Some((expected, good)) = sample.frame() else { return };
        for at in 0..good.len() {
            // One bit of those that the mask fixes, another one from byte to byte.
            let mask = expected.mask[at];
            let bits = (0..8).map(|bit| 1_u8.rotate_left(at as u32 + bit));
            let Some(bit) = bits.clone().find(|bit| mask & bit != 0) else { continue };
            let mut frame = good.clone();
            frame[at] ^= bit;
            let caught = sample.compare(&Outcome::frame(expected.kind, frame));
            let by_bytes = caught.iter().any(|mismatch| !mismatch.field.contains("checksum at"));
            assert!(by_bytes, "{}: offset {at}: {caught:?}", sample.place());
        }
    });
}

#[test]
fn result_and_length_are_compared() {
    for_each_answer("result_and_length_are_compared", |sample| {
        let mut wrong = Vec::new();
        match sample.good.clone() {
            Outcome::Forward(frame) => wrong.extend([Outcome::Reply(frame), drop_of("x")]),
            Outcome::Reply(frame) => wrong.extend([Outcome::Forward(frame), drop_of("x")]),
            Outcome::Drop(_) => {
                let frame = sample.packet.bytes.clone();
                wrong.extend([Outcome::Forward(frame.clone()), Outcome::Reply(frame)]);
            }
        }
        for outcome in wrong {
            let caught = sample.compare(&outcome);
            assert!(caught.iter().any(|m| m.field == "result"), "{}", sample.place());
        }
        let Some((expected, good)) = sample.frame() else { return };
        if !expected.free_length {
            let longer = [&good[..], &[0]].concat();
            sample.assert_caught(expected, longer, "length");
            sample.assert_caught(expected, good[..good.len() - 1].to_vec(), "length");
        }
    });
}

fn drop_of(reason: &str) -> Outcome {
    Outcome::Drop(reason.into())
}

#[test]
fn checksums_are_verified() {
    for_each_answer("checksums_are_verified", |sample| {
        let Some((expected, good)) = sample.frame() else { return };
        let spoil = |checksum: &ChecksumField| {
            let at = checksum.position().unwrap();
            let mut frame = good.clone();
            frame[at] ^= 1;
            // Zero would say that there is none.
            if frame[at..at + 2] == [0, 0] {
                frame[at] ^= 2;
            }
            frame
        };
        for checksum in &expected.valid_checksums {
            sample.assert_caught(expected, spoil(checksum), "checksum at");
        }
        if sample.tunnelled() {
            let frame = spoil(&ChecksumField::OUTER_UDP);
            sample.assert_caught(expected, frame, "outer.udp.checksum");
            let mut absent = good.clone();
            let at = ChecksumField::OUTER_UDP.position().unwrap();
            absent[at..at + 2].fill(0);
            assert_eq!(sample.compare(&Outcome::Forward(absent)), [], "{}", sample.place());
        }
    });
}

#[test]
fn variables_and_choices_are_compared() {
    let mut told_apart = 0;
    for_each_answer("variables_and_choices_are_compared", |sample| {
        let Some((expected, good)) = sample.frame() else { return };
        let with = |place: Place, value: &[u8]| {
            let mut frame = good.clone();
            place.of_mut(&mut frame).unwrap().copy_from_slice(value);
            frame
        };
        for bind in &expected.bind {
            let name = format!("variable '{}'", bind.variable);
            let wire = |number: u64| number.to_be_bytes()[8 - bind.place.len..].to_vec();
            let wrong = match &bind.allowed {
                Allowed::Any => vec![],
                Allowed::Range(first, last) => {
                    let above = Some(last + 1).filter(|it| it >> (bind.place.len * 8) == 0);
                    first.checked_sub(1).into_iter().chain(above).map(wire).collect()
                }
                Allowed::Values(_) => vec![vec![0; bind.place.len]],
            };
            let taken = bind.differs_from.iter().filter_map(|name| sample.variables.get(name));
            told_apart += taken.clone().count();
            for value in wrong.iter().chain(taken) {
                sample.assert_caught_alone(expected, with(bind.place, value), &name);
            }
        }
        for field in &expected.expect_vars {
            let mut value = sample.variables[&field.variable].clone();
            value[0] ^= 1;
            let name = format!("variable '{}'", field.variable);
            sample.assert_caught_alone(expected, with(field.place, &value), &name);
        }
        for one_of in &expected.one_of {
            let value = vec![0x42; one_of.place.len];
            let name = format!("bytes at offset {}", one_of.place.offset);
            sample.assert_caught_alone(expected, with(one_of.place, &value), &name);
        }
    });
    assert!(told_apart > 0 || folder().is_none());
}

#[test]
fn only_listed_answers_are_accepted_instead() {
    for_each_answer("only_listed_answers_are_accepted_instead", |sample| {
        let packet = sample.packet;
        let listed = |also: fn(&AlsoOk) -> bool| packet.also_ok.iter().any(also);
        let any = listed(|also| matches!(also, AlsoOk::Any));
        let drops = any || listed(|also| matches!(also, AlsoOk::Drop));
        assert_eq!(is_also_ok(packet, &drop_of("x")), drops, "{}", sample.place());
        for also in &packet.also_ok {
            let AlsoOk::Frame(kind, Some(output)) = also else { continue };
            let Expected::Frame(expected) = &packet.expected else { panic!("no mask") };
            assert!(is_also_ok(packet, &Outcome::frame(*kind, output.clone())));
            for at in (0..output.len()).filter(|at| expected.mask[*at] != 0) {
                let mut frame = output.clone();
                frame[at] ^= expected.mask[at];
                // The recorded answer may be one bit away, but it is not an also_ok.
                assert!(!is_also_ok(packet, &Outcome::frame(*kind, frame)), "offset {at}");
            }
        }
        if !packet.also_ok.iter().any(|also| matches!(also, AlsoOk::Any | AlsoOk::Frame(..))) {
            for kind in [FrameKind::Forward, FrameKind::Reply] {
                assert!(!is_also_ok(packet, &Outcome::frame(kind, packet.bytes.clone())));
            }
        }
    });
}
