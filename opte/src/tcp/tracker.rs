// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The step: a connection and a segment give the next state of the connection.

use super::{Segment, SeqNumber, TcpState};
use Judgement::{Go, New, Stay, Unexpected};
use core::fmt;
use opte_api::Direction;

/// Why a segment cannot be the first of a flow. The sender is at fault.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TcpError {
    /// None of SYN, ACK and RST is set: no TCP sends that (RFC 9293, section 3.10.7).
    NoOpeningFlag,
    /// SYN and FIN at once: opens and closes, and is only sent to confuse filters.
    SynFin,
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOpeningFlag => "first segment of a TCP flow without SYN, ACK and RST",
            Self::SynFin => "first segment of a TCP flow with both SYN and FIN",
        })
    }
}

impl core::error::Error for TcpError {}

/// What a segment meant to the connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// The state stays.
    Same,
    /// The state is another one now.
    Changed,
    /// A SYN that has nothing to do with this connection: the same addresses and ports are used
    /// again. The tracker is left as it was; the segment may be the first of a new flow.
    NewConnection,
    /// The connection has ended with this segment. Said once in the life of a tracker.
    Closed,
    /// Not a segment of this connection in this state. The tracker is left as it was. The other
    /// end knows what to answer, so such a segment is better let through and counted.
    Unexpected,
}

/// What comes of one segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Step {
    /// The connection from now on.
    pub next: Tracker,
    /// What has happened.
    pub outcome: Outcome,
}

/// One connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tracker {
    guest: Side,
    peer: Side,
    state: TcpState,
}

const _: () = assert!(size_of::<Tracker>() <= 40, "there is one in each flow");

/// What one side has said. Numbers mean nothing until the flag next to them is set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Side {
    /// Sequence number of its SYN.
    start: SeqNumber,
    /// After the last octet it sent; after its FIN, once there is one.
    end: SeqNumber,
    /// What it expects next.
    ack: SeqNumber,
    has_start: bool,
    has_end: bool,
    has_ack: bool,
    has_fin: bool,
}

/// The verdict on a segment, before it is carried out.
enum Judgement {
    Stay,
    Go(TcpState),
    New,
    Unexpected,
}

impl Tracker {
    /// A connection of which `segment` is the first segment seen.
    ///
    /// Other than a SYN, it belongs to a connection older than the flow (the flow expired, the
    /// guest came here from another host), which is picked up as it seems to be. A reset opens
    /// nothing: it gives a closed connection, whose only use is to let it through.
    pub fn open(direction: Direction, segment: &Segment) -> Result<Self, TcpError> {
        let state = first_state(direction, segment)?;
        Ok(Self { state, ..Self::default() }.with(direction, segment))
    }

    /// The connection after `segment`.
    pub fn step(self, direction: Direction, segment: &Segment) -> Step {
        match self.judge(direction, segment) {
            Stay => Step { next: self.with(direction, segment), outcome: Outcome::Same },
            Go(state) => {
                let closed = state == TcpState::Closed;
                let outcome = if closed { Outcome::Closed } else { Outcome::Changed };
                Step { next: Self { state, ..self.with(direction, segment) }, outcome }
            }
            New => Step { next: self, outcome: Outcome::NewConnection },
            Unexpected => Step { next: self, outcome: Outcome::Unexpected },
        }
    }

    /// The state of the guest's end.
    pub const fn state(&self) -> TcpState {
        self.state
    }

    /// The sequence number after the last octet that was seen of the sender in `direction`.
    /// Lags behind while plain segments are not shown to the tracker.
    pub fn end(&self, direction: Direction) -> Option<SeqNumber> {
        let side = self.side(direction);
        side.has_end.then_some(side.end)
    }

    /// The last number that the sender in `direction` acknowledged. Lags behind as
    /// [`end`](Self::end) does.
    pub fn ack(&self, direction: Direction) -> Option<SeqNumber> {
        let side = self.side(direction);
        side.has_ack.then_some(side.ack)
    }

    /// In the order of RFC 9293, section 3.10.7.4: reset, SYN, (no) ACK, FIN.
    fn judge(&self, direction: Direction, segment: &Segment) -> Judgement {
        let flags = segment.flags;
        if flags.is_rst() {
            if self.state == TcpState::Closed { Stay } else { Go(TcpState::Closed) }
        } else if flags.is_syn() && flags.is_fin() {
            Unexpected
        } else if flags.is_syn() {
            self.judge_syn(direction, segment)
        } else if !flags.is_ack() {
            Unexpected
        } else if flags.is_fin() {
            self.judge_fin(direction, segment)
        } else {
            self.judge_ack(direction, segment)
        }
    }

    fn judge_syn(&self, direction: Direction, segment: &Segment) -> Judgement {
        use Direction::{In, Out};
        use TcpState::{Closed, Established, Listen, SynReceived, SynSent};

        let answers = segment.flags.is_ack();
        let fits = answers && self.answers_syn(direction, segment);
        let repeated = self.side(direction).began_at(segment.seq);
        match (self.state, direction) {
            (SynSent, In) if fits => Go(Established),
            (Listen, Out) if fits => Go(SynReceived),
            // Both open at the same time (RFC 9293, section 3.5, figure 8).
            (SynSent, In) | (Listen, Out) if !answers => Go(SynReceived),
            (SynReceived, In) if fits && repeated => Go(Established),
            // A server that answers with SYN cookies may choose another number each time.
            (SynReceived, Out) if fits || (answers && repeated) => Stay,
            (Closed | Listen | SynSent | SynReceived, _) if answers => Unexpected,
            // Whoever was reset may try again with the same number.
            (Closed, _) => New,
            _ if repeated => Stay,
            _ if answers => Unexpected,
            _ => New,
        }
    }

    /// FIN and ACK.
    fn judge_fin(&self, direction: Direction, segment: &Segment) -> Judgement {
        use Direction::{In, Out};
        use TcpState::*;

        let acks_fin = self.acks_fin(direction, segment);
        match (self.state, direction) {
            (Established | SynReceived | Listen, Out) => Go(FinWait1),
            (Established, In) => Go(CloseWait),
            (SynReceived, In) if self.answers_syn(direction, segment) => Go(CloseWait),
            (Closed | Listen | SynSent, _) | (SynReceived, In) => Unexpected,
            // Without the acknowledgment the two have crossed (RFC 9293, section 3.6, case 3).
            (CloseWait, Out) => Go(if acks_fin { LastAck } else { Closing }),
            (FinWait1, In) => Go(if acks_fin { TimeWait } else { Closing }),
            (FinWait2, In) => Go(TimeWait),
            (Closing, In) if acks_fin => Go(TimeWait),
            (LastAck, In) if acks_fin => Go(Closed),
            (CloseWait | FinWait1 | FinWait2 | Closing | LastAck | TimeWait, _) => Stay,
        }
    }

    /// ACK, with or without data.
    fn judge_ack(&self, direction: Direction, segment: &Segment) -> Judgement {
        use Direction::{In, Out};
        use TcpState::*;

        let acks_fin = self.acks_fin(direction, segment);
        match (self.state, direction) {
            // A guest that answers a SYN like this still has a connection on these ports
            // (a challenge ACK: RFC 9293, section 3.10.7.4). The peer resets it if that is wrong.
            (Listen, Out) => Go(Established),
            (SynReceived, In) if self.answers_syn(direction, segment) => Go(Established),
            (Closed | SynSent, _) | (Listen | SynReceived, In) => Unexpected,
            (FinWait1, In) if acks_fin => Go(FinWait2),
            (Closing, In) if acks_fin => Go(TimeWait),
            (LastAck, In) if acks_fin => Go(Closed),
            (SynReceived, Out) | (Established | CloseWait | LastAck | TimeWait, _) => Stay,
            (FinWait1 | FinWait2 | Closing, _) => Stay,
        }
    }

    /// `segment` acknowledges the SYN of the other side, and nothing that was not sent.
    fn answers_syn(&self, direction: Direction, segment: &Segment) -> bool {
        let other = self.side(direction.reverse());
        other.has_start && other.start.precedes(segment.ack) && !other.end.precedes(segment.ack)
    }

    /// `segment` acknowledges the FIN of the other side. Nothing is sent after a FIN, so there
    /// is one such number.
    fn acks_fin(&self, direction: Direction, segment: &Segment) -> bool {
        let other = self.side(direction.reverse());
        other.has_fin && segment.ack == other.end
    }

    const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Out => &self.guest,
            Direction::In => &self.peer,
        }
    }

    fn with(mut self, direction: Direction, segment: &Segment) -> Self {
        match direction {
            Direction::Out => self.guest.note(segment),
            Direction::In => self.peer.note(segment),
        }
        self
    }
}

impl Side {
    fn began_at(&self, seq: SeqNumber) -> bool {
        self.has_start && self.start == seq
    }

    fn note(&mut self, segment: &Segment) {
        let flags = segment.flags;
        if flags.is_rst() {
            // Its numbers may be made up (RFC 9293, section 3.10.7.1).
            return;
        }
        if flags.is_syn() && !self.began_at(segment.seq) {
            *self = Self { start: segment.seq, has_start: true, ..Self::default() };
        }
        if flags.is_fin() {
            // The last FIN counts: a forged one must not hide the true one that comes after.
            self.end = segment.end();
            self.has_fin = true;
        } else if !self.has_fin {
            self.end = if self.has_end { self.end.later(segment.end()) } else { segment.end() };
        }
        self.has_end = true;
        if flags.is_ack() {
            self.ack = if self.has_ack { self.ack.later(segment.ack) } else { segment.ack };
            self.has_ack = true;
        }
    }
}

/// The state that the first segment of a flow leads to.
const fn first_state(direction: Direction, segment: &Segment) -> Result<TcpState, TcpError> {
    let flags = segment.flags;
    if flags.is_rst() {
        return Ok(TcpState::Closed);
    }
    if flags.is_syn() && flags.is_fin() {
        return Err(TcpError::SynFin);
    }
    if !flags.is_syn() && !flags.is_ack() {
        return Err(TcpError::NoOpeningFlag);
    }
    Ok(match (direction, flags.is_syn(), flags.is_ack(), flags.is_fin()) {
        (Direction::Out, true, false, _) => TcpState::SynSent,
        (Direction::Out, true, true, _) => TcpState::SynReceived,
        (Direction::In, true, false, _) => TcpState::Listen,
        (Direction::In, true, true, _) => TcpState::Established,
        (Direction::Out, false, _, true) => TcpState::FinWait1,
        (Direction::In, false, _, true) => TcpState::CloseWait,
        (_, false, _, false) => TcpState::Established,
    })
}
