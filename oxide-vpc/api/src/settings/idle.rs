// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How long flows live without packets, and how short that may be.

use alloc::format;
use opte_api::OpteError;
use serde::{Deserialize, Serialize};

/// Longest idle time, in seconds: a week.
pub const MAX_IDLE: u32 = 7 * 24 * 3600;

/// Seconds that a flow lives without packets, by protocol and TCP state.
///
/// Each has a lower bound that the RFCs name for a NAT, since a port forgotten too early cuts a
/// connection that both ends believe in. [`short`](Self::short) lifts the bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdleSettings {
    /// UDP: 120 or more (RFC 4787, REQ-5); the default is the one it recommends.
    pub udp: u32,
    /// ICMP and ICMPv6 queries: 60 or more (RFC 5508, REQ-2).
    pub icmp: u32,
    /// Every protocol that is not named here: no RFC bounds it.
    pub other: u32,
    /// TCP until both sides have acknowledged the other's SYN: 240 or more (RFC 5382, REQ-5, and
    /// RFC 7857, section 2.1).
    pub tcp_opening: u32,
    /// TCP open both ways: 7 440 or more (RFC 5382, REQ-5).
    pub tcp_established: u32,
    /// TCP when one side has sent a FIN, and the other may still send data: 240 or more. It is no
    /// closing connection yet (RFC 9293, section 3.6), so the default is that of an open one.
    pub tcp_half_closed: u32,
    /// TCP when both sides have sent a FIN: 240 or more (RFC 5382, REQ-5).
    pub tcp_closing: u32,
    /// TCP when both are acknowledged and the guest waits: 240 or more, as long as the guest does
    /// (RFC 9293, section 3.4.2).
    pub tcp_time_wait: u32,
    /// TCP after a reset or the last acknowledgment: 240 or more (RFC 7857, section 2.2).
    pub tcp_closed: u32,
    /// Shorter times than the RFCs ask for are taken.
    pub short: bool,
}

impl Default for IdleSettings {
    fn default() -> Self {
        Self {
            udp: 300,
            icmp: 60,
            other: 120,
            tcp_opening: 240,
            tcp_established: 8_000,
            tcp_half_closed: 7_440,
            tcp_closing: 240,
            tcp_time_wait: 240,
            tcp_closed: 240,
            short: false,
        }
    }
}

impl IdleSettings {
    /// Name, value and lower bound of each.
    const fn bounds(&self) -> [(&'static str, u32, u32); 9] {
        [
            ("idle.udp", self.udp, 120),
            ("idle.icmp", self.icmp, 60),
            ("idle.other", self.other, 1),
            ("idle.tcp_opening", self.tcp_opening, 240),
            ("idle.tcp_established", self.tcp_established, 7_440),
            ("idle.tcp_half_closed", self.tcp_half_closed, 240),
            ("idle.tcp_closing", self.tcp_closing, 240),
            ("idle.tcp_time_wait", self.tcp_time_wait, 240),
            ("idle.tcp_closed", self.tcp_closed, 240),
        ]
    }

    /// Checks the bounds.
    pub fn validate(&self) -> Result<(), OpteError> {
        for (name, value, least) in self.bounds() {
            let least = if self.short { 1 } else { least };
            if !(least..=MAX_IDLE).contains(&value) {
                let hint = if least > 1 { "; less needs idle.short=true" } else { "" };
                let why = format!("{value} s: use {least} to {MAX_IDLE}{hint}");
                return Err(OpteError::invalid(name, why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn defaults_are_within_the_bounds_and_each_bound_holds() {
        let good = IdleSettings::default();
        assert_eq!(good.validate(), Ok(()));
        let cases: [(IdleSettings, &str); 9] = [
            (IdleSettings { udp: 119, ..good }, "udp"),
            (IdleSettings { icmp: 59, ..good }, "icmp"),
            (IdleSettings { other: 0, ..good }, "other"),
            (IdleSettings { tcp_opening: 239, ..good }, "tcp_opening"),
            (IdleSettings { tcp_established: 7_439, ..good }, "tcp_established"),
            (IdleSettings { tcp_half_closed: 239, ..good }, "tcp_half_closed"),
            (IdleSettings { tcp_closing: 239, ..good }, "tcp_closing"),
            (IdleSettings { tcp_time_wait: 239, ..good }, "tcp_time_wait"),
            (IdleSettings { tcp_closed: 239, ..good }, "tcp_closed"),
        ];
        for (settings, name) in cases {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            let short = IdleSettings { short: true, ..settings };
            assert_eq!(short.validate().is_ok(), name != "other", "{name}");
        }
        assert!(IdleSettings { udp: MAX_IDLE + 1, short: true, ..good }.validate().is_err());
    }
}
