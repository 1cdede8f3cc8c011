// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Every state, direction and kind of segment, against a table written by hand from RFC 9293,
//! section 3.10.7, as it looks from the middle.

use super::*;
use opte_api::Direction::{self, In, Out};

/// Kinds of segment: the columns of [`TABLE`].
///
/// `=` has the sender's own SYN number (any, if it has sent none), `+` and `-` one ahead or behind;
/// no sign and these acknowledge all that the other side sent, `~` acknowledges less or more than
/// that. A reset goes on where its sender has stopped, `+` beyond that, `-` far behind.
const KINDS: [&str; 17] = [
    "none", "F", "S=", "S+", "S-", "SA=", "SA+", "SA~", "A", "A~", "FA", "FA~", "SF", "R", "R+",
    "R-", "RA",
];

/// Next state, or `.` the state stays, `!` unexpected, `new` another connection, `off` a challenge.
/// A reset beyond the next number passes where its sender has not been heard since the connection
/// was established: segments that are not shown to the tracker may have gone before it.
#[rustfmt::skip]
const TABLE: [(TcpState, Direction, [&str; 17]); 22] = [
    //                             none   F    S=     S+     S-     SA=    SA+    SA~   A      A~     FA     FA~    SF   R      R+     R-   RA
    (TcpState::Closed, Out,      ["!",   "!", "new", "new", "new", "!",   "!",   "!",  "!",   "!",   "!",   "!",   "!", ".",   ".",   ".", "."]),
    (TcpState::Closed, In,       ["!",   "!", "new", "new", "new", "!",   "!",   "!",  "!",   "!",   "!",   "!",   "!", ".",   ".",   ".", "."]),
    (TcpState::Listen, Out,      ["!",   "!", "SYR", "SYR", "SYR", "SYR", "SYR", "!",  "EST", "EST", "FW1", "FW1", "!", ".",   ".",   ".", "CLO"]),
    (TcpState::Listen, In,       ["!",   "!", ".",   "new", "new", "!",   "!",   "!",  "!",   "!",   "!",   "!",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::SynSent, Out,     ["!",   "!", ".",   "new", "new", "!",   "!",   "!",  "!",   "!",   "!",   "!",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::SynSent, In,      ["!",   "!", "SYR", "SYR", "SYR", "EST", "EST", "!",  "!",   "!",   "!",   "!",   "!", ".",   ".",   ".", "CLO"]),
    (TcpState::SynReceived, Out, ["!",   "!", ".",   "off", "off", ".",   ".",   ".",  ".",   ".",   "FW1", "FW1", "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::SynReceived, In,  ["!",   "!", ".",   "off", "off", "EST", "!",   "!",  "EST", "!",   "CLW", "!",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::Established, Out, ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   "FW1", "FW1", "!", "CLO", "CLO", ".", "CLO"]),
    (TcpState::Established, In,  ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   "CLW", "CLW", "!", "CLO", "CLO", ".", "CLO"]),
    (TcpState::CloseWait, Out,   ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   "LAK", "CLG", "!", "CLO", "CLO", ".", "CLO"]),
    (TcpState::CloseWait, In,    ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::LastAck, Out,     ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::LastAck, In,      ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  "CLO", ".",   "CLO", ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::FinWait1, Out,    ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::FinWait1, In,     ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  "FW2", ".",   "TIW", "CLG", "!", "CLO", "CLO", ".", "CLO"]),
    (TcpState::FinWait2, Out,    ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::FinWait2, In,     ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   "TIW", "TIW", "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::Closing, Out,     ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::Closing, In,      ["!",   "!", ".",   "off", "off", ".",   "!",   ".",  "TIW", ".",   "TIW", ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::TimeWait, Out,    ["!",   "!", ".",   "new", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
    (TcpState::TimeWait, In,     ["!",   "!", ".",   "new", "off", ".",   "!",   ".",  ".",   ".",   ".",   ".",   "!", "CLO", ".",   ".", "CLO"]),
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
    (TcpState::Closed, &[(Out, "S="), (In, "RA")]),
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
        let new_number = match kind.chars().last() {
            Some('+') => 0x1234_5678,
            Some('-') => 0x1234_5678_u32.wrapping_neg(),
            _ => 0,
        };
        let skew = if kind.contains('~') { skew } else { 0 };
        let ack = SeqNumber(self.next[other].wrapping_add(skew));
        if flags.is_rst() {
            let beyond = if kind.ends_with('+') { 1 } else { 0 };
            let behind = if kind.ends_with('-') { 0x4000_0000 } else { 0 };
            let seq = SeqNumber(self.next[own].wrapping_add(beyond).wrapping_sub(behind));
            return Segment { flags, seq, ack, payload_len: 0, window: 512 };
        }
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
        "off" => (from, Outcome::Challenge),
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

fn row(state: TcpState, direction: Direction) -> [&'static str; 17] {
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
            // A reset is one whatever comes with it. In answer to a SYN it must acknowledge that.
            let answers =
                [(TcpState::SynSent, In), (TcpState::Listen, Out)].contains(&(state, direction));
            for bits in (0..=u8::MAX).filter(|bits| bits & 0x04 != 0) {
                let fits = state != TcpState::Closed && (!answers || bits & 0x10 != 0);
                check(bits, if fits { "CLO" } else { "." });
            }
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
