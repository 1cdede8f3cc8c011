// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is set for a port, as the engine takes it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use opte::answer::Rate;
use opte::care::Care;
use opte::nat::{Identifications, Realm, ReservationSpace};
use opte::policy::{AnswerPolicy, IdleLimits};
use opte::tcp::Timeouts;
use opte_api::{Direction, IpCidr};
use oxide_vpc_api::{PortConfig, PortSettings};

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
        mapped_by_outbound: settings.nat.outbound_refresh_only,
    }
}

/// What senders are told. Over IPv6 the guest knows its gateway by its link-local address.
pub fn answer_policy(config: &PortConfig) -> AnswerPolicy {
    let (answers, way) = (&config.settings.answers, &config.settings.way);
    let ipv4 = config.ipv4.as_ref().map(|family| family.gateway_ip);
    let ipv6 = config.ipv6.as_ref().map(|_| config.gateway_mac.link_local().into());
    AnswerPolicy {
        gateways: [ipv4, ipv6],
        unreachable: answers.unreachable,
        cut: config.settings.continuity.tell,
        longest: [way.inside_mtu, way.outside_mtu].map(Option::unwrap_or_default),
        rate: Rate { per_second: answers.per_second, burst: answers.burst },
    }
}

/// The identifications that IPv4 fragments of the port may have where it shares addresses: the
/// numbers of the ports that it has of them, counted together with all who have the same ports.
pub fn shared_addresses(
    config: &PortConfig,
    space: &ReservationSpace,
) -> Vec<Arc<Identifications>> {
    let snat = config.ipv4.iter().flat_map(|family| &family.external.snat);
    let snat = snat.map(|range| (IpCidr::host(range.ip), range.first_port..=range.last_port));
    let more = config.settings.nat.ranges.iter().filter(|range| range.prefix.is_ipv4());
    let more = more.map(|range| (range.prefix, range.first_port..=range.last_port));
    let ids = |(prefix, ports)| space.identifications(Realm::OUTSIDE, prefix, ports);
    snat.chain(more).map(ids).collect()
}

/// What is asked of packets of this direction that go outside or come from there, or do not.
pub fn care(config: &PortConfig, direction: Direction, ipv4: bool, outside: bool) -> Care {
    let way = &config.settings.way;
    let longest = if outside { way.outside_mtu } else { way.inside_mtu };
    let (hop, longest) = match direction {
        Direction::Out => (way.visible_hop, longest.unwrap_or_default()),
        Direction::In => (false, 0),
    };
    let segment = if outside && way.clamp_mss { outside_segment(config, ipv4) } else { 0 };
    Care { hop, outside, longest, segment, dscp: way.copy_dscp }
}

/// The largest segment that gets outside: what IP and TCP headers leave (RFC 9293, section 3.7.1;
/// RFC 6691).
pub fn outside_segment(config: &PortConfig, ipv4: bool) -> u16 {
    let headers = if ipv4 { 40 } else { 60 };
    config.settings.way.outside_mtu.unwrap_or(config.mtu).saturating_sub(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_and_the_settings_have_the_same_defaults() {
        assert_eq!(idle_limits(&PortSettings::default()), IdleLimits::default());
        let answers = PortSettings::default().answers;
        let rate = Rate { per_second: answers.per_second, burst: answers.burst };
        assert_eq!(rate, Rate::default());
    }
}
