// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is set for a port, as the engine takes it.

use opte::policy::IdleLimits;
use opte::tcp::Timeouts;
use oxide_vpc_api::PortSettings;

/// How long flows live without packets.
pub fn idle_limits(settings: &PortSettings) -> IdleLimits {
    let idle = &settings.idle;
    let millis = |seconds: u32| u64::from(seconds) * 1000;
    IdleLimits {
        tcp: Timeouts {
            opening_ms: millis(idle.tcp_opening),
            established_ms: millis(idle.tcp_established),
            half_closed_ms: millis(idle.tcp_half_closed),
            closing_ms: millis(idle.tcp_closing),
            time_wait_ms: millis(idle.tcp_time_wait),
            closed_ms: millis(idle.tcp_closed),
        },
        udp: millis(idle.udp),
        icmp: millis(idle.icmp),
        other: millis(idle.other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_and_the_settings_have_the_same_defaults() {
        assert_eq!(idle_limits(&PortSettings::default()), IdleLimits::default());
    }
}
