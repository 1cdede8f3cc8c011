// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Whole connections, segment by segment, and what holds of any sequence of segments.

use super::*;
use TcpState::*;
use opte_api::Direction::{self, In, Out};
extern crate std;
use proptest::prelude::*;
use std::vec::Vec;

/// What one line of a walk leads to.
#[derive(Debug, PartialEq)]
enum Now {
    /// The connection is in this state.
    Is(TcpState),
    /// In this state, and the segment was not expected.
    Odd(TcpState),
    /// In this state, and its receiver is to say whether it has the connection.
    Challenged(TcpState),
    /// A new connection on the same addresses and ports, in this state.
    Anew(TcpState),
    /// The segment opens nothing.
    Refused(TcpError),
}
use Now::{Anew, Challenged, Is, Odd, Refused};

/// Direction, flags, sequence number, acknowledgment, octets of data.
type Line = (Direction, &'static str, u32, u32, u32);

fn segment((_, flags, seq, ack, payload_len): Line) -> Segment {
    let bit = |letter| 1 << "FSRPAU".find(letter).unwrap();
    let flags = TcpFlags(flags.chars().map(bit).fold(0, |all, bit: u8| all | bit));
    Segment { flags, seq: SeqNumber(seq), ack: SeqNumber(ack), payload_len, window: 8192 }
}

/// One set of addresses and ports, as a flow table would serve it.
#[derive(Default)]
struct Flow(Option<Tracker>);

impl Flow {
    fn take(&mut self, line: Line) -> Now {
        let segment = segment(line);
        if let Some(tracker) = self.0 {
            let Step { next, outcome } = tracker.step(line.0, &segment);
            self.0 = Some(next);
            match outcome {
                Outcome::Unexpected => return Odd(next.state()),
                Outcome::Challenge => return Challenged(next.state()),
                Outcome::NewConnection => {}
                Outcome::Same | Outcome::Changed | Outcome::Closed => return Is(next.state()),
            }
        }
        match Tracker::open(line.0, &segment) {
            Ok(opened) if self.0.replace(opened).is_some() => Anew(opened.state()),
            Ok(opened) => Is(opened.state()),
            Err(error) => Refused(error),
        }
    }

    /// Forgets the connection if it may not be idle for so long.
    fn idle(&mut self, ms: u64) {
        self.0 = self.0.filter(|tracker| ms < idle_limit(tracker.state(), &Timeouts::default()));
    }

    fn check(&mut self, lines: &[(Line, Now)]) {
        for (line, expected) in lines {
            assert_eq!(self.take(*line), *expected, "{line:?}");
        }
    }
}

#[test]
fn idle_limits() {
    let [mut open, mut half_open] = [Flow::default(), Flow::default()];
    open.check(&[
        ((Out, "S", 1, 0, 0), Is(SynSent)),
        ((In, "SA", 1, 2, 0), Is(Established)),
        ((Out, "A", 2, 2, 0), Is(Established)),
    ]);
    half_open.check(&[((Out, "S", 1, 0, 0), Is(SynSent))]);
    // A slow SYN and ACK still finds its connection.
    half_open.idle(200_000);
    assert_eq!(half_open.take((In, "SA", 1, 2, 0)), Is(Established));
    half_open = Flow::default();
    half_open.check(&[((Out, "S", 90, 0, 0), Is(SynSent))]);
    open.idle(250_000);
    half_open.idle(250_000);
    assert_eq!(half_open.0, None);
    open.check(&[((In, "PA", 2, 2, 1), Is(Established))]);
    open.idle(7_000_000);
    open.check(&[((In, "PA", 3, 2, 1), Is(Established))]);
    open.idle(8_100_000);
    assert_eq!(open.0, None);
}

#[test]
fn guest_opens_and_closes() {
    let mut flow = Flow::default();
    flow.check(&[
        ((Out, "S", 100, 0, 0), Is(SynSent)),
        ((In, "SA", 500, 101, 0), Is(Established)),
        ((Out, "A", 101, 501, 0), Is(Established)),
        ((Out, "PA", 101, 501, 5), Is(Established)),
        ((In, "A", 501, 106, 0), Is(Established)),
        ((Out, "FA", 106, 501, 0), Is(FinWait1)),
        ((In, "A", 501, 107, 0), Is(FinWait2)),
        ((In, "FA", 501, 107, 0), Is(TimeWait)),
        ((Out, "A", 107, 502, 0), Is(TimeWait)),
        ((In, "FA", 501, 107, 0), Is(TimeWait)),
    ]);
    flow.idle(245_000);
    assert_eq!(flow.0, None);
    flow.check(&[
        ((Out, "S", 9000, 0, 0), Is(SynSent)),
        ((In, "SA", 7000, 9001, 0), Is(Established)),
    ]);
}

#[test]
fn peer_opens_and_closes() {
    Flow::default().check(&[
        ((In, "S", 100, 0, 0), Is(Listen)),
        ((Out, "SA", 900, 101, 0), Is(SynReceived)),
        ((In, "A", 101, 901, 0), Is(Established)),
        ((In, "PA", 101, 901, 3), Is(Established)),
        ((Out, "PA", 901, 104, 2), Is(Established)),
        ((In, "FA", 104, 903, 0), Is(CloseWait)),
        ((Out, "A", 903, 105, 0), Is(CloseWait)),
        ((Out, "FA", 903, 105, 0), Is(LastAck)),
        ((In, "A", 105, 904, 0), Is(Closed)),
        ((In, "S", 2000, 0, 0), Anew(Listen)),
    ]);
}

#[test]
fn segments_without_a_syn_before_them() {
    let first = |line| Flow::default().take(line);
    Flow::default()
        .check(&[((Out, "A", 5, 5, 0), Is(Established)), ((In, "A", 5, 5, 0), Is(Established))]);
    assert_eq!(first((Out, "PA", 5, 5, 1)), Is(Established));
    assert_eq!(first((Out, "FA", 5, 5, 0)), Is(FinWait1));
    assert_eq!(first((Out, "R", 5, 0, 0)), Is(Closed));
    Flow::default().check(&[
        ((Out, "SA", 5, 5, 0), Is(SynReceived)),
        ((Out, "SA", 5, 5, 0), Is(SynReceived)),
        ((In, "A", 5, 6, 0), Is(Established)),
    ]);
    for direction in Direction::BOTH {
        assert_eq!(first((direction, "", 5, 5, 0)), Refused(TcpError::NoOpeningFlag));
        assert_eq!(first((direction, "FPU", 5, 0, 0)), Refused(TcpError::NoOpeningFlag));
        assert_eq!(first((direction, "FS", 5, 0, 0)), Refused(TcpError::SynFin));
    }
    Flow::default()
        .check(&[((In, "A", 5, 5, 0), Is(Established)), ((In, "R", 5, 5, 0), Is(Closed))]);
    Flow::default().check(&[
        ((In, "PA", 5, 5, 0), Is(Established)),
        ((In, "FA", 5, 5, 0), Is(CloseWait)),
        ((In, "SA", 5, 5, 0), Odd(CloseWait)),
        ((In, "FS", 5, 5, 0), Odd(CloseWait)),
    ]);
}

#[test]
fn resets() {
    Flow::default().check(&[
        ((Out, "S", 1000, 0, 0), Is(SynSent)),
        ((In, "RA", 0, 1001, 0), Is(Closed)),
        ((In, "SA", 5, 1001, 0), Odd(Closed)),
        ((Out, "S", 7777, 0, 0), Anew(SynSent)),
        ((In, "SA", 5, 7778, 0), Is(Established)),
        ((Out, "R", 7778, 0, 0), Is(Closed)),
        ((In, "A", 6, 7778, 0), Odd(Closed)),
    ]);
    Flow::default().check(&[
        ((Out, "S", 1000, 0, 0), Is(SynSent)),
        ((In, "SA", 5, 1001, 0), Is(Established)),
        ((In, "R", 6, 0, 0), Is(Closed)),
        ((Out, "A", 1001, 6, 0), Odd(Closed)),
    ]);
}

#[test]
fn a_refused_connection_is_held_for_four_minutes() {
    // RFC 7857, section 2.2.
    let mut flow = Flow::default();
    flow.check(&[
        ((Out, "S", 1, 0, 0), Is(SynSent)),
        ((In, "RA", 0, 2, 0), Is(Closed)),
        ((Out, "S", 1, 0, 0), Anew(SynSent)),
        ((In, "RA", 0, 2, 0), Is(Closed)),
    ]);
    flow.idle(239_000);
    assert_eq!(flow.0.map(|tracker| tracker.state()), Some(Closed));
    flow.idle(241_000);
    assert_eq!(flow.0, None);
}

#[test]
fn a_syn_on_a_live_connection_is_for_its_receiver_to_judge() {
    // RFC 5961, section 4. Here the receiver has the connection no longer, and answers.
    Flow::default().check(&[
        ((Out, "S", 1, 0, 0), Is(SynSent)),
        ((Out, "S", 1, 0, 0), Is(SynSent)),
        ((In, "SA", 1, 2, 0), Is(Established)),
        ((Out, "A", 2, 2, 0), Is(Established)),
        ((Out, "S", 90_000, 0, 0), Challenged(Established)),
        ((In, "SA", 50_000, 90_001, 0), Is(Established)),
        ((Out, "A", 90_001, 50_001, 0), Is(Established)),
        ((Out, "FA", 90_001, 50_001, 0), Is(FinWait1)),
        ((In, "FA", 50_001, 90_002, 0), Is(TimeWait)),
        ((Out, "A", 90_002, 50_002, 0), Is(TimeWait)),
        ((Out, "S", 123_456, 0, 0), Anew(SynSent)),
        ((In, "SA", 3, 123_457, 0), Is(Established)),
    ]);
}

#[test]
fn a_live_connection_is_restarted_by_whoever_takes_the_syn() {
    let open: [(Line, Now); 3] = [
        ((In, "S", 1, 0, 0), Is(Listen)),
        ((Out, "SA", 1, 2, 0), Is(SynReceived)),
        ((In, "A", 2, 2, 0), Is(Established)),
    ];
    let mut flow = Flow::default();
    flow.check(&open);
    flow.check(&[
        ((In, "S", 70, 0, 0), Challenged(Established)),
        ((Out, "SA", 500, 71, 0), Is(SynReceived)),
        ((In, "A", 71, 501, 0), Is(Established)),
        // Numbers of the connection before mean nothing any more.
        ((In, "R", 69, 0, 0), Is(Established)),
    ]);
}

#[test]
fn time_wait_ends_early_for_a_later_number_only() {
    // RFC 9293, section 3.6.1; RFC 6191 is for the ends, which know the timestamps.
    let waiting: [(Line, Now); 4] = [
        ((Out, "S", 100, 0, 0), Is(SynSent)),
        ((In, "SA", 500, 101, 0), Is(Established)),
        ((Out, "FA", 101, 501, 0), Is(FinWait1)),
        ((In, "FA", 501, 102, 0), Is(TimeWait)),
    ];
    for (line, expected) in [
        ((Out, "S", 102, 0, 0), Anew(SynSent)),
        ((In, "S", 502, 0, 0), Anew(Listen)),
        ((Out, "S", 99, 0, 0), Challenged(TimeWait)),
        ((In, "S", 501, 0, 0), Challenged(TimeWait)),
        ((In, "S", 500, 0, 0), Is(TimeWait)),
    ] {
        let mut flow = Flow::default();
        flow.check(&waiting);
        assert_eq!(flow.take(line), expected, "{line:?}");
    }
    // By its timestamp the peer may take it all the same.
    let mut flow = Flow::default();
    flow.check(&waiting);
    flow.check(&[
        ((Out, "S", 50, 0, 0), Challenged(TimeWait)),
        ((In, "SA", 7, 51, 0), Is(Established)),
    ]);
}

#[test]
fn a_forged_reset_ends_nothing_that_is_in_use() {
    // RFC 7857, section 2.2. The number is a guess that happens not to be behind.
    for (state, last) in [(Established, (In, "A", 2, 2, 0)), (CloseWait, (In, "FA", 2, 2, 0))] {
        let mut flow = Flow::default();
        flow.check(&[
            ((Out, "S", 1, 0, 0), Is(SynSent)),
            ((In, "SA", 1, 2, 0), Is(Established)),
            ((Out, "A", 2, 2, 0), Is(Established)),
            (last, Is(state)),
            ((Out, "R", 9_000, 0, 0), Is(Closed)),
            // What its peer says proves nothing, for the peer may not have got it yet.
            ((In, "A", 3, 2, 0), Odd(Closed)),
            ((Out, "R", 5, 0, 0), Is(Closed)),
            // Who has reset a connection says nothing of this kind.
            ((Out, "PA", 2, 2, 10), Is(state)),
        ]);
    }
}

#[test]
fn a_reset_that_does_not_fit_changes_nothing() {
    // RFC 5961, section 3.2: at most it makes its receiver acknowledge.
    let mut flow = Flow::default();
    flow.check(&[
        ((Out, "S", 100, 0, 0), Is(SynSent)),
        // RFC 9293, section 3.10.7.3.
        ((In, "R", 0, 0, 0), Is(SynSent)),
        ((In, "RA", 0, 100, 0), Is(SynSent)),
        ((In, "RA", 0, 102, 0), Is(SynSent)),
        ((In, "SA", 500, 101, 0), Is(Established)),
        ((Out, "A", 101, 501, 0), Is(Established)),
        ((In, "R", 500, 0, 0), Is(Established)),
        ((Out, "FA", 101, 501, 0), Is(FinWait1)),
        ((In, "A", 501, 102, 0), Is(FinWait2)),
        ((In, "R", 500, 0, 0), Is(FinWait2)),
        ((In, "R", 502, 0, 0), Is(FinWait2)),
        ((Out, "R", 103, 0, 0), Is(FinWait2)),
        ((In, "R", 501, 0, 0), Is(Closed)),
    ]);
    Flow::default().check(&[
        ((In, "S", 100, 0, 0), Is(Listen)),
        ((Out, "R", 0, 0, 0), Is(Listen)),
        ((In, "R", 102, 0, 0), Is(Listen)),
        ((Out, "RA", 0, 101, 0), Is(Closed)),
    ]);
}

#[test]
fn the_next_number_is_the_later_of_sent_and_acknowledged() {
    let mut flow = Flow::default();
    flow.take((Out, "S", 100, 0, 0));
    let next = |flow: &Flow, way| flow.0.unwrap().next(way);
    assert_eq!((next(&flow, Out), next(&flow, In)), (Some(SeqNumber(101)), None));
    flow.take((In, "SA", 500, 101, 0));
    assert_eq!(next(&flow, In), Some(SeqNumber(501)));
    // What the guest has sent meanwhile shows in what the peer acknowledges.
    flow.take((In, "A", 501, 4_000, 0));
    assert_eq!((next(&flow, Out), next(&flow, In)), (Some(SeqNumber(4_000)), Some(SeqNumber(501))));
}

#[test]
fn both_open_at_once() {
    // RFC 9293, section 3.5, figure 8.
    Flow::default().check(&[
        ((Out, "S", 100, 0, 0), Is(SynSent)),
        ((In, "S", 300, 0, 0), Is(SynReceived)),
        ((Out, "SA", 100, 301, 0), Is(SynReceived)),
        ((In, "SA", 300, 101, 0), Is(Established)),
        ((Out, "A", 101, 301, 0), Is(Established)),
    ]);
}

#[test]
fn both_close_at_once() {
    // RFC 9293, section 3.6, figure 13; the two FINs pass here in either order.
    let open: [(Line, Now); 3] = [
        ((Out, "S", 99, 0, 0), Is(SynSent)),
        ((In, "SA", 299, 100, 0), Is(Established)),
        ((Out, "A", 100, 300, 0), Is(Established)),
    ];
    let fin_out: Line = (Out, "FA", 100, 300, 0);
    let fin_in: Line = (In, "FA", 300, 100, 0);
    for (first, state, second) in [(fin_out, FinWait1, fin_in), (fin_in, CloseWait, fin_out)] {
        let mut flow = Flow::default();
        flow.check(&open);
        flow.check(&[
            (first, Is(state)),
            (second, Is(Closing)),
            ((Out, "A", 101, 301, 0), Is(Closing)),
            ((In, "A", 301, 101, 0), Is(TimeWait)),
        ]);
    }
}

#[test]
fn half_closed_connections_carry_data() {
    // RFC 9293, section 3.6.1. The FIN has data and is the last octet before the wrap.
    Flow::default().check(&[
        ((Out, "S", u32::MAX - 10, 0, 0), Is(SynSent)),
        ((In, "SA", 5, u32::MAX - 9, 0), Is(Established)),
        ((Out, "FPA", u32::MAX - 9, 6, 9), Is(FinWait1)),
        ((In, "A", 6, u32::MAX, 0), Is(FinWait1)),
        ((In, "PA", 6, 0, 1000), Is(FinWait2)),
        ((Out, "A", 0, 1006, 0), Is(FinWait2)),
        ((In, "PA", 1006, 0, 1000), Is(FinWait2)),
        ((In, "FPA", 2006, 0, 4), Is(TimeWait)),
    ]);
}

#[test]
fn repeated_and_lost_fins() {
    Flow::default().check(&[
        ((In, "A", 10, 20, 0), Is(Established)),
        ((In, "FA", 10, 20, 0), Is(CloseWait)),
        ((In, "FA", 10, 20, 0), Is(CloseWait)),
        ((Out, "FPA", 20, 11, 7), Is(LastAck)),
        // Data again, then all of it again.
        ((Out, "PA", 20, 11, 7), Is(LastAck)),
        ((Out, "FPA", 20, 11, 7), Is(LastAck)),
        ((In, "A", 11, 27, 0), Is(LastAck)),
        ((In, "FA", 10, 28, 0), Is(Closed)),
        ((Out, "FPA", 20, 11, 7), Odd(Closed)),
    ]);
}

#[test]
fn a_late_copy_of_the_syn_changes_nothing() {
    Flow::default().check(&[
        ((Out, "S", 100, 0, 0), Is(SynSent)),
        ((In, "SA", 500, 101, 0), Is(Established)),
        ((Out, "FPA", 101, 501, 9), Is(FinWait1)),
        ((Out, "S", 100, 0, 0), Is(FinWait1)),
        ((In, "SA", 500, 101, 0), Is(FinWait1)),
        ((In, "A", 501, 111, 0), Is(FinWait2)),
    ]);
}

#[test]
fn a_guest_that_keeps_its_connection_is_believed() {
    // RFC 9293, section 3.10.7.4: a SYN on a live connection is answered with a challenge ACK.
    Flow::default().check(&[
        ((Out, "S", 1, 0, 0), Is(SynSent)),
        ((In, "SA", 1, 2, 0), Is(Established)),
        ((In, "S", 77, 0, 0), Challenged(Established)),
        ((Out, "A", 2, 2, 0), Is(Established)),
        ((In, "PA", 2, 2, 10), Is(Established)),
        ((In, "S", 77, 0, 0), Challenged(Established)),
        // It was a forged one: nobody answers this with a SYN but a receiver that took it.
        ((Out, "SA", 900, 77, 0), Odd(Established)),
        // It was a true one: the challenge is answered with a reset, and the next SYN opens.
        ((In, "R", 2, 0, 0), Is(Closed)),
        ((In, "S", 77, 0, 0), Anew(Listen)),
    ]);
}

#[test]
fn data_may_come_with_the_syn() {
    // RFC 7413: the server may acknowledge the SYN alone or its data too, and answer early.
    for acked in [101, 105, 110] {
        Flow::default().check(&[
            ((In, "S", 100, 0, 9), Is(Listen)),
            ((Out, "SA", 900, acked, 0), Is(SynReceived)),
            ((Out, "PA", 901, acked, 50), Is(SynReceived)),
            ((Out, "SA", 900, acked, 0), Is(SynReceived)),
            ((In, "A", 110, 951, 0), Is(Established)),
        ]);
    }
    Flow::default().check(&[
        ((In, "S", 100, 0, 9), Is(Listen)),
        ((Out, "SA", 900, 111, 0), Odd(Listen)),
        ((Out, "SA", 900, 100, 0), Odd(Listen)),
    ]);
}

#[test]
fn syn_cookies_may_change() {
    Flow::default().check(&[
        ((In, "S", 100, 0, 0), Is(Listen)),
        ((Out, "SA", 900, 101, 0), Is(SynReceived)),
        ((In, "S", 100, 0, 0), Is(SynReceived)),
        ((Out, "SA", 5_000_000, 101, 0), Is(SynReceived)),
        ((In, "A", 101, 901, 0), Odd(SynReceived)),
        ((In, "A", 101, 5_000_001, 0), Is(Established)),
    ]);
}

#[test]
fn a_forged_fin_does_not_hide_the_true_one() {
    Flow::default().check(&[
        ((Out, "A", 10, 20, 0), Is(Established)),
        ((In, "FA", 4_000_000, 10, 0), Is(CloseWait)),
        ((In, "PA", 20, 10, 5), Is(CloseWait)),
        ((In, "FA", 25, 10, 0), Is(CloseWait)),
        // Nor does anything that claims to come after it.
        ((In, "PA", 4_000, 10, 5), Is(CloseWait)),
        ((Out, "FA", 10, 26, 0), Is(LastAck)),
        ((In, "A", 26, 11, 0), Is(Closed)),
    ]);
}

#[test]
fn what_each_side_said_can_be_read() {
    let mut flow = Flow::default();
    flow.take((Out, "S", u32::MAX, 0, 0));
    let tracker = flow.0.unwrap();
    assert_eq!((tracker.end(Out), tracker.ack(Out)), (Some(SeqNumber(0)), None));
    assert_eq!((tracker.end(In), tracker.ack(In)), (None, None));
    flow.take((In, "SA", 8, 0, 0));
    flow.take((In, "PA", 9, 0, 100));
    // An older segment that comes late takes nothing back.
    flow.take((In, "PA", 9, u32::MAX, 50));
    let tracker = flow.0.unwrap();
    assert_eq!((tracker.end(In), tracker.ack(In)), (Some(SeqNumber(109)), Some(SeqNumber(0))));
}

/// Segments whose numbers are often those that matter.
fn segments() -> impl Strategy<Value = Vec<(Direction, Segment)>> {
    let flags = prop_oneof![
        1 => Just(0x02_u8),
        1 => Just(0x12),
        1 => Just(0x11),
        6 => Just(0x10),
        2 => Just(0x18),
        1 => any::<u8>(),
    ];
    let direction = prop_oneof![Just(Out), Just(In)];
    let one = (direction, flags, 0..4_u32, 0..6_u32, 0..3_u32).prop_map(
        |(direction, flags, seq, ack, payload_len)| {
            let (flags, seq, ack) = (TcpFlags(flags), SeqNumber(seq), SeqNumber(ack));
            (direction, Segment { flags, seq, ack, payload_len, window: 0 })
        },
    );
    prop::collection::vec(one, 1..40)
}

fn without_resets(mut segments: Vec<(Direction, Segment)>) -> Vec<(Direction, Segment)> {
    segments.retain(|(_, segment)| !segment.flags.is_rst());
    segments
}

/// State and outcome after each segment, from the first that opens a connection.
fn trace(
    segments: &[(Direction, Segment)],
    passes_by: impl Fn(&Tracker, &Segment) -> bool,
) -> Vec<(TcpState, Outcome)> {
    let mut tracker: Option<Tracker> = None;
    let mut trace = Vec::new();
    for (direction, segment) in segments {
        let Some(current) = tracker else {
            tracker = Tracker::open(*direction, segment).ok();
            continue;
        };
        if passes_by(&current, segment) {
            trace.push((current.state(), Outcome::Same));
            continue;
        }
        let Step { mut next, outcome } = current.step(*direction, segment);
        if outcome == Outcome::NewConnection {
            next = Tracker::open(*direction, segment).unwrap();
        }
        trace.push((next.state(), outcome));
        tracker = Some(next);
    }
    trace
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The caller may leave plain segments out: [`is_plain`].
    #[test]
    fn plain_segments_may_pass_by(segments in segments()) {
        // What is said of resets does depend on numbers that lag behind.
        let segments = without_resets(segments);
        let stepped = trace(&segments, |_, _| false);
        let passed_by = trace(&segments, |tracker, s| is_plain(s.flags, tracker.state()));
        prop_assert_eq!(stepped, passed_by);
    }

    /// Only differences between sequence numbers matter.
    #[test]
    fn where_numbers_begin_does_not_matter(segments in segments(), start: [u32; 2]) {
        let mut moved = segments.clone();
        for (direction, segment) in &mut moved {
            segment.seq = segment.seq.add(start[direction.index()]);
            segment.ack = segment.ack.add(start[direction.reverse().index()]);
        }
        prop_assert_eq!(trace(&segments, |_, _| false), trace(&moved, |_, _| false));
    }

    /// The end is told once, and only a new connection follows it. Only a reset may be forged.
    #[test]
    fn closed_stays_closed(segments in segments()) {
        let mut closed = false;
        for (state, outcome) in trace(&without_resets(segments), |_, _| false) {
            match outcome {
                Outcome::NewConnection => closed = false,
                Outcome::Closed => prop_assert!(!core::mem::replace(&mut closed, true)),
                Outcome::Same | Outcome::Changed | Outcome::Challenge | Outcome::Unexpected => {}
            }
            prop_assert!(!closed || state == Closed);
        }
    }

    /// A tracker is all that its parts say.
    #[test]
    fn a_tracker_can_be_taken_apart(segments in segments()) {
        let mut tracker = Tracker::default();
        for (direction, segment) in &segments {
            tracker = tracker.step(*direction, segment).next;
            prop_assert_eq!(Tracker::from_parts(tracker.parts()), tracker);
            if let Ok(opened) = Tracker::open(*direction, segment) {
                tracker = opened;
            }
        }
    }
}
