// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The states of a connection, how long each may be idle, and which segments leave the state as
//! it is.

use super::TcpFlags;
use core::fmt;

/// State of the guest's end of a connection (RFC 9293, section 3.3.2), as far as its segments
/// tell.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum TcpState {
    /// No connection any more: reset, or the guest's FIN was acknowledged last.
    #[default]
    Closed = 0,
    /// The peer sent a SYN; the guest has not answered.
    Listen = 1,
    /// The guest sent a SYN; the peer has not answered.
    SynSent = 2,
    /// Both have sent a SYN; that of the guest is not acknowledged.
    SynReceived = 3,
    /// Open both ways.
    Established = 4,
    /// The peer sent a FIN; the guest has not.
    CloseWait = 5,
    /// The guest sent a FIN after that of the peer; it is not acknowledged.
    LastAck = 6,
    /// The guest sent a FIN first; it is not acknowledged.
    FinWait1 = 7,
    /// The guest's FIN is acknowledged; the peer has sent none.
    FinWait2 = 8,
    /// Both have sent a FIN at the same time; that of the guest is not acknowledged.
    Closing = 9,
    /// Both FINs are sent and the guest's is acknowledged; segments may still wander about.
    TimeWait = 10,
}

impl TcpState {
    /// All states, by their number.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::CloseWait,
        Self::LastAck,
        Self::FinWait1,
        Self::FinWait2,
        Self::Closing,
        Self::TimeWait,
    ];

    /// The name in capitals, as RFC 9293 writes it, with underscores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::Closing => "CLOSING",
            Self::TimeWait => "TIME_WAIT",
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A segment with these flags cannot change a connection in `state`, whatever its numbers are:
/// no need to step (or lock) the tracker for it.
#[inline]
pub const fn is_plain(flags: TcpFlags, state: TcpState) -> bool {
    const MATTERS: u8 = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0 | TcpFlags::ACK.0;
    matches!(state, TcpState::Established) && flags.0 & MATTERS == TcpFlags::ACK.0
}

/// How long a connection may be idle, in milliseconds, by the phase it is in.
///
/// RFC 5382, REQ-5, asks of a NAT at least 2 h 4 min when established and 4 min when opening or
/// closing; RFC 7857, section 2.2, 4 min after a reset. The defaults keep to that. A policy may set
/// its own.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Timeouts {
    /// From the first SYN until both are acknowledged: time for a slow SYN and ACK.
    pub opening_ms: u64,
    /// Open both ways.
    pub established_ms: u64,
    /// One side has sent a FIN; the other may still send data (RFC 9293, section 3.6.1), so this is
    /// no closing connection yet.
    pub half_closed_ms: u64,
    /// Both sides have sent a FIN.
    pub closing_ms: u64,
    /// Both sides have sent a FIN, and the guest waits for wandering segments.
    pub time_wait_ms: u64,
    /// After a reset or the last acknowledgment: stragglers still find their flow.
    pub closed_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            opening_ms: 240_000,
            established_ms: 8_000_000,
            half_closed_ms: 7_440_000,
            closing_ms: 240_000,
            time_wait_ms: 240_000,
            closed_ms: 240_000,
        }
    }
}

/// Milliseconds that a connection in `state` may be idle before it is forgotten.
pub const fn idle_limit(state: TcpState, timeouts: &Timeouts) -> u64 {
    match state {
        TcpState::Listen | TcpState::SynSent | TcpState::SynReceived => timeouts.opening_ms,
        TcpState::Established => timeouts.established_ms,
        TcpState::CloseWait | TcpState::FinWait1 | TcpState::FinWait2 => timeouts.half_closed_ms,
        TcpState::LastAck | TcpState::Closing => timeouts.closing_ms,
        TcpState::TimeWait => timeouts.time_wait_ms,
        TcpState::Closed => timeouts.closed_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate alloc;
    use alloc::format;

    #[test]
    fn states_have_their_number_and_name() {
        for (number, state) in TcpState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
        }
        assert_eq!(format!("{}", TcpState::SynSent), "SYN_SENT");
        assert_eq!(format!("{:>11}|", TcpState::FinWait1), " FIN_WAIT_1|");
    }

    #[test]
    fn only_an_ack_while_established_is_plain() {
        for bits in 0..=u8::MAX {
            let flags = TcpFlags(bits);
            let bare = flags.is_ack() && !flags.is_syn() && !flags.is_fin() && !flags.is_rst();
            for state in TcpState::ALL {
                let expected = bare && state == TcpState::Established;
                assert_eq!(is_plain(flags, state), expected, "{flags} in {state}");
            }
        }
    }

    #[test]
    fn each_state_has_the_limit_of_its_phase() {
        let timeouts = Timeouts {
            opening_ms: 1,
            established_ms: 2,
            half_closed_ms: 3,
            closing_ms: 4,
            time_wait_ms: 5,
            closed_ms: 6,
        };
        let limits = TcpState::ALL.map(|state| idle_limit(state, &timeouts));
        assert_eq!(limits, [6, 1, 1, 1, 2, 3, 4, 3, 3, 4, 5]);
    }

    #[test]
    fn an_established_connection_outlives_two_hours_and_four_minutes() {
        // RFC 5382, REQ-5.
        assert!(Timeouts::default().established_ms >= (2 * 60 + 4) * 60_000);
    }
}
