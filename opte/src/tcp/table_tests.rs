// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every state, direction and kind of segment, against a table written by hand from RFC 9293,
//! section 3.10.7, as it looks from the middle.

use super::*;
use opte_api::Direction::{self, In, Out};

/// Kinds of segment: the columns of [`TABLE`].
///
/// `=` has the sender's own SYN number (any, if it has sent none), `+` another one; no sign and
/// these two acknowledge all that the other side sent, `~` acknowledges less or more than that.
const KINDS: [&str; 13] =
    ["none", "F", "S=", "S+", "SA=", "SA+", "SA~", "A", "A~", "FA", "FA~", "SF", "R"];

/// Next state, or `.` the state stays, `!` unexpected, `new` another connection.
#[rustfmt::skip]
const TABLE: [(TcpState, Direction, [&str; 13]); 22] = [
    //                          none  F    S=     S+     SA=    SA+   SA~  A      A~     FA     FA~    SF   R
    (TcpState::Closed, Out,      ["!", "!", "new", "new", "!",   "!",   "!", "!",   "!",   "!",   "!",   "!", "."]),
    (TcpState::Closed, In,       ["!", "!", "new", "new", "!",   "!",   "!", "!",   "!",   "!",   "!",   "!", "."]),
    (TcpState::Listen, Out,      ["!", "!", "SYR", "SYR", "SYR", "SYR", "!", "EST", "EST", "FW1", "FW1", "!", "CLO"]),
    (TcpState::Listen, In,       ["!", "!", ".",   "new", "!",   "!",   "!", "!",   "!",   "!",   "!",   "!", "CLO"]),
    (TcpState::SynSent, Out,     ["!", "!", ".",   "new", "!",   "!",   "!", "!",   "!",   "!",   "!",   "!", "CLO"]),
    (TcpState::SynSent, In,      ["!", "!", "SYR", "SYR", "EST", "EST", "!", "!",   "!",   "!",   "!",   "!", "CLO"]),
    (TcpState::SynReceived, Out, ["!", "!", ".",   "new", ".",   ".",   ".", ".",   ".",   "FW1", "FW1", "!", "CLO"]),
    (TcpState::SynReceived, In,  ["!", "!", ".",   "new", "EST", "!",   "!", "EST", "!",   "CLW", "!",   "!", "CLO"]),
    (TcpState::Established, Out, ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   "FW1", "FW1", "!", "CLO"]),
    (TcpState::Established, In,  ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   "CLW", "CLW", "!", "CLO"]),
    (TcpState::CloseWait, Out,   ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   "LAK", "CLG", "!", "CLO"]),
    (TcpState::CloseWait, In,    ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
    (TcpState::LastAck, Out,     ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
    (TcpState::LastAck, In,      ["!", "!", ".",   "new", ".",   "!",   ".", "CLO", ".",   "CLO", ".",   "!", "CLO"]),
    (TcpState::FinWait1, Out,    ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
    (TcpState::FinWait1, In,     ["!", "!", ".",   "new", ".",   "!",   ".", "FW2", ".",   "TIW", "CLG", "!", "CLO"]),
    (TcpState::FinWait2, Out,    ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
    (TcpState::FinWait2, In,     ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   "TIW", "TIW", "!", "CLO"]),
    (TcpState::Closing, Out,     ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
    (TcpState::Closing, In,      ["!", "!", ".",   "new", ".",   "!",   ".", "TIW", ".",   "TIW", ".",   "!", "CLO"]),
    (TcpState::TimeWait, Out,    ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
    (TcpState::TimeWait, In,     ["!", "!", ".",   "new", ".",   "!",   ".", ".",   ".",   ".",   ".",   "!", "CLO"]),
];

/// Ways into each state: direction and kind of each segment.
const PATHS: [(TcpState, &[(Direction, &str)]); 17] = [
    (TcpState::Listen, &[(In, "S=")]),
    (TcpState::SynSent, &[(Out, "S=")]),
    (TcpState::SynReceived, &[(In, "S="), (Out, "SA=")]),
    (TcpState::SynReceived, &[(Out, "S="), (In, "S=")]),
    (TcpState::SynReceived, &[(In, "S="), (Out, "S="), (Out, "SA=")]),
    (TcpState::Established, &[(In, "S="), (Out, "SA="), (In, "A")]),
    (TcpState::Established, &[(Out, "S="), (In, "SA="), (Out, "A"), (In, "A"), (Out, "A")]),
    (TcpState::CloseWait, &[(Out, "S="), (In, "SA="), (Out, "A"), (In, "FA")]),
    (TcpState::LastAck, &[(Out, "S="), (In, "SA="), (Out, "A"), (In, "FA"), (Out, "FA")]),
    (TcpState::FinWait1, &[(In, "S="), (Out, "SA="), (In, "A"), (Out, "FA")]),
    (TcpState::FinWait2, &[(Out, "S="), (In, "SA="), (Out, "FA"), (In, "A")]),
    (TcpState::Closing, &[(Out, "S="), (In, "SA="), (Out, "FA"), (In, "FA~")]),
    (TcpState::Closing, &[(Out, "S="), (In, "SA="), (In, "FA"), (Out, "FA~")]),
    (TcpState::TimeWait, &[(Out, "S="), (In, "SA="), (Out, "FA"), (In, "A"), (In, "FA")]),
    (TcpState::TimeWait, &[(Out, "S="), (In, "SA="), (Out, "FA"), (In, "FA~"), (In, "A")]),
    (TcpState::Closed, &[(Out, "S="), (In, "R")]),
    (TcpState::Closed, &[(In, "S="), (Out, "SA="), (In, "FA"), (Out, "FA"), (In, "A")]),
];

/// Initial sequence numbers of guest and peer; the wrap comes before, in and after the SYN.
const STARTS: [[u32; 2]; 6] = [
    [1000, 7000],
    [u32::MAX, 0],
    [u32::MAX - 1, u32::MAX],
    [0, u32::MAX - 11],
    [0x7fff_ffff, 0x8000_0000],
    [u32::MAX - 12, 0x7fff_fff0],
];

/// Octets of data in each segment without SYN.
const PAYLOAD: u32 = 10;

/// The numbers of both sides, kept as the two ends would.
#[derive(Clone, Copy)]
struct Ends {
    start: [u32; 2],
    next: [u32; 2],
    finished: [bool; 2],
}

impl Ends {
    fn new(start: [u32; 2]) -> Self {
        Self { start, next: start, finished: [false; 2] }
    }

    /// The next segment of that kind; `skew` is added to the acknowledgment of `~`.
    fn send(&mut self, direction: Direction, kind: &str, skew: u32) -> Segment {
        let (own, other) = (direction.index(), direction.reverse().index());
        let mut flags = TcpFlags::default();
        for letter in kind.chars() {
            flags = flags
                | match letter {
                    'S' => TcpFlags::SYN,
                    'F' if kind != "none" => TcpFlags::FIN,
                    'R' => TcpFlags::RST,
                    'A' => TcpFlags::ACK,
                    _ => TcpFlags::default(),
                };
        }
        let new_number = if kind.contains('+') { 0x1234_5678 } else { 0 };
        let skew = if kind.contains('~') { skew } else { 0 };
        let ack = SeqNumber(self.next[other].wrapping_add(skew));
        if flags.is_syn() {
            let seq = SeqNumber(self.start[own].wrapping_add(new_number));
            self.next[own] = self.start[own].wrapping_add(1);
            return Segment { flags, seq, ack, payload_len: 0, window: 512 };
        }
        if self.finished[own] {
            // Nothing new comes after a FIN; it can only be repeated.
            let seq = SeqNumber(self.next[own].wrapping_sub(u32::from(flags.is_fin())));
            return Segment { flags, seq, ack, payload_len: 0, window: 512 };
        }
        let segment = Segment {
            flags,
            seq: SeqNumber(self.next[own]),
            ack,
            payload_len: PAYLOAD,
            window: 512,
        };
        self.next[own] = self.next[own].wrapping_add(PAYLOAD + u32::from(flags.is_fin()));
        self.finished[own] = flags.is_fin();
        segment
    }
}

fn walk(path: &[(Direction, &str)], start: [u32; 2]) -> (Tracker, Ends) {
    let mut ends = Ends::new(start);
    let mut tracker: Option<Tracker> = None;
    for (direction, kind) in path {
        // Acknowledges what came before the last octet: not the FIN.
        let segment = ends.send(*direction, kind, 1_u32.wrapping_neg());
        tracker = Some(match tracker {
            None => Tracker::open(*direction, &segment).unwrap(),
            Some(tracker) => tracker.step(*direction, &segment).next,
        });
    }
    (tracker.unwrap(), ends)
}

fn state_of(name: &str) -> TcpState {
    let names = ["CLO", "LIS", "SYS", "SYR", "EST", "CLW", "LAK", "FW1", "FW2", "CLG", "TIW"];
    TcpState::ALL[names.iter().position(|known| *known == name).unwrap()]
}

fn check_cell(tracker: Tracker, direction: Direction, segment: &Segment, expected: &str) {
    let step = tracker.step(direction, segment);
    let from = tracker.state();
    let (state, outcome) = match expected {
        "." => (from, Outcome::Same),
        "!" => (from, Outcome::Unexpected),
        "new" => (from, Outcome::NewConnection),
        "CLO" => (TcpState::Closed, Outcome::Closed),
        name => (state_of(name), Outcome::Changed),
    };
    assert_eq!(
        (step.next.state(), step.outcome),
        (state, outcome),
        "{from} {direction} {segment:?}"
    );
    if matches!(outcome, Outcome::Unexpected | Outcome::NewConnection) {
        assert_eq!(step.next, tracker, "{from} {direction} {segment:?}");
    }
}

fn row(state: TcpState, direction: Direction) -> [&'static str; 13] {
    TABLE.iter().find(|(s, d, _)| (*s, *d) == (state, direction)).unwrap().2
}

#[test]
fn paths_lead_where_they_say() {
    for (state, path) in PATHS {
        for start in STARTS {
            assert_eq!(walk(path, start).0.state(), state, "{path:?} {start:?}");
        }
    }
    for state in TcpState::ALL {
        assert!(PATHS.iter().any(|(reached, _)| *reached == state), "{state}");
    }
}

#[test]
fn each_state_takes_each_segment_as_in_the_table() {
    // Before the SYN, before the last octet, and more than was sent.
    let skews = [0x4000_0000_u32.wrapping_neg(), 1_u32.wrapping_neg(), 1];
    let cells = PATHS
        .iter()
        .flat_map(|(state, path)| STARTS.map(|start| (*state, walk(path, start))))
        .flat_map(|(state, at)| Direction::BOTH.map(|direction| (state, direction, at)));
    for (state, direction, (tracker, ends)) in cells {
        for (kind, expected) in KINDS.into_iter().zip(row(state, direction)) {
            for skew in skews {
                let segment = ends.clone().send(direction, kind, skew);
                check_cell(tracker, direction, &segment, expected);
            }
        }
    }
}

#[test]
fn push_urgent_and_congestion_bits_do_not_matter() {
    for (state, path) in PATHS {
        let (tracker, ends) = walk(path, STARTS[0]);
        for direction in Direction::BOTH {
            for (kind, expected) in KINDS.into_iter().zip(row(state, direction)) {
                for extra in [0x08, 0x20, 0x40, 0x80, 0xe8] {
                    let mut segment = ends.clone().send(direction, kind, 1_u32.wrapping_neg());
                    segment.flags = segment.flags | TcpFlags(extra);
                    check_cell(tracker, direction, &segment, expected);
                }
            }
        }
    }
}

#[test]
fn combinations_that_make_no_sense() {
    for (state, path) in PATHS {
        let (tracker, ends) = walk(path, STARTS[0]);
        for direction in Direction::BOTH {
            let check = |bits: u8, expected: &str| {
                let mut segment = ends.clone().send(direction, "A", 0);
                segment.flags = TcpFlags(bits);
                check_cell(tracker, direction, &segment, expected);
            };
            // A reset is one whatever comes with it.
            let reset = if state == TcpState::Closed { "." } else { "CLO" };
            (0..=u8::MAX).filter(|bits| bits & 0x04 != 0).for_each(|bits| check(bits, reset));
            // SYN and FIN, with and without ACK; and none of SYN, RST, ACK.
            for bits in [0x03, 0x13, 0x0b, 0x33, 0x00, 0x01, 0x08, 0x20, 0x29] {
                check(bits, "!");
            }
        }
    }
}

#[test]
fn first_segments() {
    #[rustfmt::skip]
    let table: [(&str, [&str; 2]); 8] = [
        // flags   out    in
        ("none", ["no",  "no"]),
        ("F",    ["no",  "no"]),
        ("SF",   ["syn", "syn"]),
        ("SFA",  ["syn", "syn"]),
        ("S",    ["SYS", "LIS"]),
        ("SA",   ["SYR", "EST"]),
        ("A",    ["EST", "EST"]),
        ("FA",   ["FW1", "CLW"]),
    ];
    for (kind, expected) in table {
        for direction in Direction::BOTH {
            let segment = Ends::new(STARTS[0]).send(direction, kind, 0);
            let state = Tracker::open(direction, &segment).map(|tracker| tracker.state());
            let expected = match expected[direction.index()] {
                "no" => Err(TcpError::NoOpeningFlag),
                "syn" => Err(TcpError::SynFin),
                name => Ok(state_of(name)),
            };
            assert_eq!(state, expected, "{direction} {kind}");
            for bits in (0..=u8::MAX).filter(|bits| bits & 0x04 != 0) {
                let reset = Segment { flags: TcpFlags(bits), ..segment };
                let tracker = Tracker::open(direction, &reset).unwrap();
                assert_eq!(tracker, Tracker::default(), "{direction} {bits:#x}");
            }
        }
    }
}
