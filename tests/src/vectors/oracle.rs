// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! An engine that knows the answers. It gives what was recorded, with everything that is free
//! chosen otherwise: other variables, other alternatives, noise under the mask.

use super::check::Variables;
use super::checksum::{ChecksumField, ChecksumKind};
use super::contract::{Change, Outcome, Refusal, Subject};
use super::model::{
    Action, Allowed, Bind, Expected, ExpectedFrame, FrameKind, PacketStep, Scenario,
};
use opte_api::Direction;

/// Plays the engine in a scenario, from its first step on.
pub struct Oracle {
    scenario: Scenario,
    at: usize,
    variables: Variables,
}

impl Oracle {
    /// Knows the answers of this scenario.
    pub fn new(scenario: &Scenario) -> Self {
        Self { scenario: scenario.clone(), at: 0, variables: Variables::new() }
    }

    fn next(&mut self) -> Option<Action> {
        let step = self.scenario.steps.get(self.at).cloned();
        self.at += 1;
        step.map(|step| step.action)
    }
}

impl Subject for Oracle {
    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let refused = self.scenario.steps[self.at].refused;
        let Some(Action::Change(next)) = self.next() else { panic!("a change comes too early") };
        assert_eq!(next.name(), change.name());
        if refused { Err(Refusal::Refused("as recorded".into())) } else { Ok(()) }
    }

    fn advance(&mut self, ms: u64) {
        assert!(matches!(self.next(), Some(Action::Advance(next)) if next == ms));
    }

    fn expire(&mut self) {
        assert!(matches!(self.next(), Some(Action::Expire)));
    }

    fn packet(&mut self, direction: Direction, bytes: &[u8]) -> Outcome {
        let Some(Action::Packet(packet)) = self.next() else { panic!("a packet comes too early") };
        assert_eq!(packet.direction, direction);
        assert_input(&packet, bytes, &self.variables);
        answer(&packet, &mut self.variables)
    }
}

/// The frame is the recorded one but for the variables and the checksums, which are right.
fn assert_input(packet: &PacketStep, bytes: &[u8], variables: &Variables) {
    assert_eq!(packet.bytes.len(), bytes.len());
    let mut may_differ = vec![false; bytes.len()];
    for field in &packet.subst {
        let place = field.place.offset..field.place.offset + field.place.len;
        assert_eq!(bytes[place.clone()], variables[&field.variable]);
        may_differ[place].fill(true);
    }
    for checksum in &packet.checksums {
        checksum.verify(bytes).unwrap();
        let at = checksum.position().unwrap();
        may_differ[at..at + 2].fill(true);
    }
    for (at, may_differ) in may_differ.into_iter().enumerate() {
        assert!(may_differ || packet.bytes[at] == bytes[at], "offset {at}");
    }
}

/// A good answer, and its variables kept.
pub fn answer(packet: &PacketStep, variables: &mut Variables) -> Outcome {
    let Expected::Frame(expected) = &packet.expected else {
        return Outcome::Drop("as recorded".into());
    };
    let mut frame = expected.output.clone();
    add_noise(expected, &mut frame);
    for one_of in &expected.one_of {
        let value = one_of.values.last().unwrap();
        one_of.place.of_mut(&mut frame).unwrap().copy_from_slice(value);
    }
    for bind in &expected.bind {
        let value = choose(bind, expected, variables);
        bind.place.of_mut(&mut frame).unwrap().copy_from_slice(&value);
        variables.insert(bind.variable.clone(), value);
    }
    for field in &expected.expect_vars {
        field.place.of_mut(&mut frame).unwrap().copy_from_slice(&variables[&field.variable]);
    }
    // The recorded outer checksum is absent; a right one is as good.
    let tunnelled = packet.direction == Direction::Out && expected.kind == FrameKind::Forward;
    fill_checksums(expected, tunnelled, &mut frame);
    Outcome::frame(expected.kind, frame)
}

/// Computes the checksums that must be right, and the outer one where there is one.
pub fn fill_checksums(expected: &ExpectedFrame, tunnelled: bool, frame: &mut [u8]) {
    for checksum in &expected.valid_checksums {
        fill(checksum, expected, frame);
    }
    if tunnelled {
        fill(&ChecksumField::OUTER_UDP, expected, frame);
    }
}

/// A UDP checksum that the mask fixes stays as it is, absent or not; another one is computed even
/// where the noise was zero.
fn fill(checksum: &ChecksumField, expected: &ExpectedFrame, frame: &mut [u8]) {
    let at = checksum.position().unwrap();
    let free = expected.mask[at..at + 2] == [0, 0];
    if free && checksum.kind() == ChecksumKind::Udp {
        frame[at..at + 2].fill(1);
    }
    checksum.fill(frame).unwrap();
}

/// Fills free bits with noise. Decoded answers keep their bytes: those are free in form only.
fn add_noise(expected: &ExpectedFrame, frame: &mut [u8]) {
    if !expected.decoded.is_empty() {
        return;
    }
    let mut state = 0x9e37_79b9_u32;
    for (byte, mask) in frame.iter_mut().zip(&expected.mask) {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        *byte ^= (state >> 24) as u8 & !mask;
    }
}

/// A value that is allowed, and not the recorded one where there is a choice.
fn choose(bind: &Bind, expected: &ExpectedFrame, variables: &Variables) -> Vec<u8> {
    let recorded = bind.place.of(&expected.output).unwrap().to_vec();
    let taken =
        |value: &Vec<u8>| bind.differs_from.iter().any(|other| variables.get(other) == Some(value));
    let wire = |number: u64| number.to_be_bytes()[8 - bind.place.len..].to_vec();
    let choices: Vec<Vec<u8>> = match &bind.allowed {
        Allowed::Any => vec![recorded.clone()],
        Allowed::Range(first, last) => (*first..=*last).take(64).map(wire).collect(),
        Allowed::Values(values) => values.clone(),
    };
    let free = || choices.iter().filter(|value| !taken(value));
    free().find(|value| **value != recorded).or(free().next()).unwrap().clone()
}
