// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A scenario in the project's own types.

use super::checksum::ChecksumField;
use super::contract::Change;
use opte_api::{Direction, IpCidr};
use oxide_vpc_api::PortConfig;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One file.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, unique in its folder.
    pub name: String,
    /// What it is about, in one word.
    pub area: String,
    /// What it is about, in one sentence.
    pub about: String,
    /// Why what was recorded is arguable, if it is.
    pub dispute: Option<String>,
    /// The port on which it is played.
    pub port: PortDescription,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// The packet is counted apart: its own step is disputed, or the scenario is and singles out
    /// no step.
    pub fn disputes(&self, packet: &PacketStep) -> bool {
        let singles_out = |step: &Step| matches!(&step.action, Action::Packet(packet) if packet.dispute.is_some());
        packet.dispute.is_some() || (self.dispute.is_some() && !self.steps.iter().any(singles_out))
    }
}

/// A port, and what a port may have that is not part of its configuration proper.
#[derive(Clone, Debug)]
pub struct PortDescription {
    /// The configuration.
    pub config: PortConfig,
    /// Subnets attached to the guest.
    pub attached_subnets: Vec<AttachedSubnet>,
    /// Prefixes which the guest may use besides its own address.
    pub transit: Vec<TransitPrefix>,
}

/// A subnet behind the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AttachedSubnet {
    /// The subnet.
    pub subnet: IpCidr,
    /// Its addresses are known outside and are not translated.
    pub external: bool,
}

/// A prefix which the guest may use besides its own address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransitPrefix {
    /// The prefix.
    pub subnet: IpCidr,
    /// As destination of what comes in.
    pub allow_in: bool,
    /// As source of what goes out.
    pub allow_out: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// The operation must be refused and must change nothing.
    pub refused: bool,
    /// What a reader should know.
    pub note: String,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Changes the configuration.
    Change(Change),
    /// Moves the clock by so many milliseconds.
    Advance(u64),
    /// Removes flows that have been idle for too long.
    Expire,
    /// Sends a packet.
    Packet(Box<PacketStep>),
}

/// A packet and its answer.
#[derive(Clone, Debug)]
pub struct PacketStep {
    /// `Out`: a frame from the guest; `In`: an outer frame from the underlay.
    pub direction: Direction,
    /// The frame before variables are written into it.
    pub bytes: Vec<u8>,
    /// Variables to write into the frame.
    pub subst: Vec<VariableField>,
    /// Checksums to compute anew after that, in order.
    pub checksums: Vec<ChecksumField>,
    /// The recorded answer.
    pub expected: Expected,
    /// Where the recorded engine dropped the packet. For readers only.
    pub stage: Option<String>,
    /// Why the recorded answer is arguable, if it is.
    pub dispute: Option<String>,
    /// Other answers to a disputed packet.
    pub also_ok: Vec<AlsoOk>,
}

/// A recorded answer.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Nothing comes out.
    Drop,
    /// A frame comes out.
    Frame(Box<ExpectedFrame>),
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameKind {
    /// On its way.
    Forward,
    /// Back to the guest.
    Reply,
}

/// A frame that must come out.
#[derive(Clone, Debug)]
pub struct ExpectedFrame {
    /// Where it goes.
    pub kind: FrameKind,
    /// The recorded bytes.
    pub output: Vec<u8>,
    /// Bits set must match; as long as `output`.
    pub mask: Vec<u8>,
    /// The frame may have another length.
    pub free_length: bool,
    /// Checksums that must verify.
    pub valid_checksums: Vec<ChecksumField>,
    /// Bytes that must be one of several values.
    pub one_of: Vec<OneOf>,
    /// Bytes that are checked and kept as variables.
    pub bind: Vec<Bind>,
    /// Bytes that must be the value of a variable.
    pub expect_vars: Vec<VariableField>,
    /// Fields of DHCP, DHCPv6 and router advertisement answers.
    pub decoded: BTreeMap<String, Value>,
    /// Names in `decoded` that must be there with any value.
    pub decoded_free: BTreeSet<String>,
}

/// Bytes of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Of the first byte.
    pub offset: usize,
    /// How many.
    pub len: usize,
}

impl Place {
    /// These bytes, unless the frame is too short.
    pub fn of(self, frame: &[u8]) -> Option<&[u8]> {
        frame.get(self.offset..self.offset.checked_add(self.len)?)
    }

    /// These bytes to write to, unless the frame is too short.
    pub fn of_mut(self, frame: &mut [u8]) -> Option<&mut [u8]> {
        frame.get_mut(self.offset..self.offset.checked_add(self.len)?)
    }
}

/// Bytes that hold a variable.
#[derive(Clone, Debug)]
pub struct VariableField {
    /// Which bytes.
    pub place: Place,
    /// Which variable.
    pub variable: String,
}

/// Bytes that must be one of several values.
#[derive(Clone, Debug)]
pub struct OneOf {
    /// Which bytes.
    pub place: Place,
    /// The values.
    pub values: Vec<Vec<u8>>,
}

/// Bytes that are checked and kept as a variable.
#[derive(Clone, Debug)]
pub struct Bind {
    /// Which bytes.
    pub place: Place,
    /// Name of the variable.
    pub variable: String,
    /// Which values are good.
    pub allowed: Allowed,
    /// Variables whose values it must not have.
    pub differs_from: Vec<String>,
}

/// Which values a variable may have.
#[derive(Clone, Debug)]
pub enum Allowed {
    /// All.
    Any,
    /// A big-endian number from the first to the second, both inclusive.
    Range(u64, u64),
    /// These.
    Values(Vec<Vec<u8>>),
}

/// An answer that is accepted instead of the recorded one.
#[derive(Clone, Debug)]
pub enum AlsoOk {
    /// Whatever comes.
    Any,
    /// Nothing comes out.
    Drop,
    /// A frame comes out, and these bytes under the mask of the step, if they are given.
    Frame(FrameKind, Option<Vec<u8>>),
}
