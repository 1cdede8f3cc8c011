// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The step: a connection and a segment give the next state of the connection.

use super::side::Side;
use super::{Segment, SeqNumber, TcpState};
use Judgement::{Go, New, Offer, Restart, Revive, Stay, Unexpected};
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
    /// A SYN on a live connection. It changes nothing (RFC 5961, section 4): its receiver answers
    /// with an acknowledgment if it has the connection, and with a SYN if it has none. The caller
    /// must ask whether the sender may open a connection before it lets the segment through.
    Challenge,
    /// The connection has ended with this segment. After a reset it may still turn out to live.
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
    /// The number of the SYN of the side that has [`Side::OFFER`].
    offer: SeqNumber,
    state: TcpState,
    /// The state before the reset, if a side has [`Side::RESET`].
    before: TcpState,
}

const _: () = assert!(size_of::<Tracker>() <= 40, "there is one in each flow");

/// All that a tracker knows, to be carried elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrackerParts {
    /// The guest and its peer.
    pub sides: [Side; 2],
    /// Number of a SYN on a live connection.
    pub offer: SeqNumber,
    /// State, and the one before a reset.
    pub states: [TcpState; 2],
}

/// The verdict on a segment, before it is carried out.
enum Judgement {
    Stay,
    Go(TcpState),
    New,
    Offer,
    Restart,
    Revive,
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
        let step = |next, outcome| Step { next, outcome };
        match self.judge(direction, segment) {
            Stay => step(self.with(direction, segment), Outcome::Same),
            Go(TcpState::Closed) => step(self.closed(direction, segment), Outcome::Closed),
            Go(state) => step(Self { state, ..self }.with(direction, segment), Outcome::Changed),
            New => step(self, Outcome::NewConnection),
            Offer => step(self.offered(direction, segment.seq), Outcome::Challenge),
            Restart => step(self.restarted(direction, segment), Outcome::Changed),
            Revive => self.revived(direction, segment),
            Unexpected => step(self, Outcome::Unexpected),
        }
    }

    /// The state of the guest's end.
    pub const fn state(&self) -> TcpState {
        self.state
    }

    /// The sequence number after the last octet that was seen of the sender in `direction`.
    /// Lags behind while plain segments are not shown to the tracker.
    pub fn end(&self, direction: Direction) -> Option<SeqNumber> {
        self.side(direction).sent()
    }

    /// The last number that the sender in `direction` acknowledged. Lags behind as
    /// [`end`](Self::end) does.
    pub fn ack(&self, direction: Direction) -> Option<SeqNumber> {
        self.side(direction).expects()
    }

    /// The sequence number that the receiver of what goes `direction` expects next: what a reset
    /// must have that goes there (RFC 5961, section 3.2). Lags behind as [`end`](Self::end) does.
    pub fn next(&self, direction: Direction) -> Option<SeqNumber> {
        match (self.ack(direction.reverse()), self.end(direction)) {
            (Some(ack), Some(end)) => Some(ack.later(end)),
            (ack, end) => ack.or(end),
        }
    }

    /// All that is known, to be carried elsewhere.
    pub const fn parts(&self) -> TrackerParts {
        let (sides, states) = ([self.guest, self.peer], [self.state, self.before]);
        TrackerParts { sides, offer: self.offer, states }
    }

    /// A tracker of what another one knew. Bits that mean nothing are left out.
    pub fn from_parts(parts: TrackerParts) -> Self {
        let TrackerParts { sides, offer, states: [state, before] } = parts;
        let [guest, peer] = sides.map(|side| Side { known: side.known & Side::ALL, ..side });
        Self { guest, peer, offer, state, before }
    }

    /// In the order of RFC 9293, section 3.10.7.4: reset, SYN, (no) ACK, FIN.
    fn judge(&self, direction: Direction, segment: &Segment) -> Judgement {
        let flags = segment.flags;
        if flags.is_rst() {
            // One that does not fit is answered by its receiver with an acknowledgment, at most.
            let closes = self.state != TcpState::Closed && self.reset_fits(direction, segment);
            if closes { Go(TcpState::Closed) } else { Stay }
        } else if flags.is_syn() && flags.is_fin() {
            Unexpected
        } else if flags.is_syn() {
            self.judge_syn(direction, segment)
        } else if !flags.is_ack() {
            Unexpected
        } else if self.state == TcpState::Closed && self.side(direction).has(Side::RESET) {
            Revive
        } else if flags.is_fin() {
            self.judge_fin(direction, segment)
        } else {
            self.judge_ack(direction, segment)
        }
    }

    /// The receiver of this reset is likely to believe it (RFC 5961, section 3.2, and RFC 9293,
    /// section 3.10.7.3).
    fn reset_fits(&self, direction: Direction, segment: &Segment) -> bool {
        use Direction::{In, Out};
        use TcpState::{Listen, SynReceived, SynSent};

        let (side, other) = (self.side(direction), self.side(direction.reverse()));
        match (self.state, direction) {
            // It has no number of its own to be right about, so it acknowledges the SYN.
            (SynSent, In) | (Listen, Out) => {
                segment.flags.is_ack() && self.answers_syn(direction, segment)
            }
            (SynSent | Listen | SynReceived, _) => self.is_next(direction, segment.seq),
            // Segments may have gone by since, in either direction: the number is not behind what
            // is known. Whether the reset was true shows in what its sender says next.
            _ if !side.has(Side::FRESH) => {
                let least = other.expects().or(side.has(Side::START).then_some(side.start));
                least.is_none_or(|least| !segment.seq.precedes(least))
            }
            _ => self.is_next(direction, segment.seq),
        }
    }

    /// The sender goes on with this number: after what it sent last, or after what the other side
    /// acknowledged last.
    fn is_next(&self, direction: Direction, seq: SeqNumber) -> bool {
        let next = [self.side(direction).sent(), self.side(direction.reverse()).expects()];
        next.contains(&Some(seq))
    }

    fn judge_syn(&self, direction: Direction, segment: &Segment) -> Judgement {
        use Direction::{In, Out};
        use TcpState::{Closed, Established, Listen, SynReceived, SynSent, TimeWait};

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
            (Closed | Listen | SynSent, _) if answers => Unexpected,
            // Whoever was reset may try again with the same number.
            (Closed, _) => New,
            _ if answers && self.answers_offer(direction, segment) => Restart,
            (SynReceived, _) if answers => Unexpected,
            _ if repeated => Stay,
            _ if answers => Unexpected,
            (Listen | SynSent, _) => New,
            // A number behind the last one begins another connection (RFC 9293, section 3.6.1).
            // Timestamps may tell so, too, which only the ends know (RFC 6191).
            (TimeWait, _) if self.is_beyond(direction, segment.seq) => New,
            _ => Offer,
        }
    }

    fn is_beyond(&self, direction: Direction, seq: SeqNumber) -> bool {
        self.side(direction).sent().is_some_and(|end| !seq.precedes(end))
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
        other.has(Side::START)
            && other.start.precedes(segment.ack)
            && !other.end.precedes(segment.ack)
    }

    /// `segment` acknowledges the SYN that the other side sent on this live connection, with all
    /// or some of the data that may have come with it (RFC 7413).
    fn answers_offer(&self, direction: Direction, segment: &Segment) -> bool {
        let other = self.side(direction.reverse());
        other.has(Side::OFFER) && (1..=1 << 16).contains(&segment.ack.diff(self.offer))
    }

    /// `segment` acknowledges the FIN of the other side. Nothing is sent after a FIN, so there
    /// is one such number.
    fn acks_fin(&self, direction: Direction, segment: &Segment) -> bool {
        let other = self.side(direction.reverse());
        other.has(Side::FIN) && segment.ack == other.end
    }

    const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Out => &self.guest,
            Direction::In => &self.peer,
        }
    }

    const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Out => &mut self.guest,
            Direction::In => &mut self.peer,
        }
    }

    /// Takes note of a segment in the state that it led to.
    fn with(mut self, direction: Direction, segment: &Segment) -> Self {
        if segment.flags.is_rst() {
            return self;
        }
        let expected = self.side(direction.reverse()).expects();
        self.side_mut(direction).note(segment);
        if self.state == TcpState::Established {
            // The caller need not show any more segments.
            for way in Direction::BOTH {
                self.side_mut(way).set(Side::FRESH, false);
            }
        } else if !expected.is_some_and(|expected| segment.end().precedes(expected)) {
            self.side_mut(direction).set(Side::FRESH, true);
        }
        self
    }

    fn closed(self, direction: Direction, segment: &Segment) -> Self {
        let mut next = Self { state: TcpState::Closed, ..self };
        if !segment.flags.is_rst() {
            return next.with(direction, segment);
        }
        next.before = self.state;
        next.side_mut(direction).set(Side::RESET, true);
        next
    }

    /// The sender of the reset goes on: so it was not the one who sent it (RFC 7857, section 2.2,
    /// keeps what a later packet uses).
    fn revived(self, direction: Direction, segment: &Segment) -> Step {
        let mut live = Self { state: self.before, before: TcpState::Closed, ..self };
        live.side_mut(direction).set(Side::RESET, false);
        match live.step(direction, segment) {
            Step { next, outcome: Outcome::Same } => Step { next, outcome: Outcome::Changed },
            Step { outcome: Outcome::Unexpected, .. } => {
                Step { next: self, outcome: Outcome::Unexpected }
            }
            step => step,
        }
    }

    fn offered(mut self, direction: Direction, seq: SeqNumber) -> Self {
        self.offer = seq;
        self.side_mut(direction).set(Side::OFFER, true);
        self.side_mut(direction.reverse()).set(Side::OFFER, false);
        self
    }

    /// The sender in `direction` has taken the other's SYN for a new connection.
    fn restarted(self, direction: Direction, segment: &Segment) -> Self {
        let state = match direction {
            Direction::Out => TcpState::SynReceived,
            Direction::In => TcpState::Established,
        };
        let mut next = Self { state, ..Self::default() };
        *next.side_mut(direction.reverse()) = Side::began(self.offer);
        next.with(direction, segment)
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
