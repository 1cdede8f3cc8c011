// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Steps of a random history: what happens to a host. Small numbers stand for things, so that
//! flows meet again and a failing history shrinks.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::changes::{Change, changes};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// The guest of a port sends something new.
    Out {
        /// Which port.
        port: usize,
        /// What.
        talk: Talk,
        /// Something about it is not as usual.
        oddity: Oddity,
    },
    /// Something new comes over the underlay.
    In {
        /// The guest it is for.
        port: usize,
        /// What, seen from the guest.
        talk: Talk,
        /// Which address it is for.
        to: To,
        /// Where it comes from.
        from: From,
        /// Something about it is not as usual.
        oddity: Oddity,
    },
    /// Who got one of the last frames that left answers it.
    Answer {
        /// Which frame.
        at: usize,
        /// What the answer is.
        how: Answer,
        /// Something about it is not as usual.
        oddity: Oddity,
    },
    /// One of the last frames that came in comes again.
    Again {
        /// Which frame.
        at: usize,
        /// Something about it is not as before.
        oddity: Oddity,
    },
    /// A guest talks to its gateway.
    Link {
        /// Which guest.
        port: usize,
        /// What it says.
        call: Call,
    },
    /// Bytes.
    Noise {
        /// From the guest of this port, or from the underlay.
        port: Option<usize>,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The clock goes on by so many milliseconds, and flows expire.
    Wait(u64),
    /// The clock goes on, but nobody looks for flows that expire.
    Idle(u64),
    /// The configuration changes.
    Change(Change),
    /// Several changes come into force as one.
    Apply(Vec<Change>),
}

/// A packet between a guest and somebody.
#[derive(Clone, Debug)]
pub struct Talk {
    /// IPv4 or IPv6.
    pub ipv4: bool,
    /// With whom.
    pub peer: Peer,
    /// About what.
    pub about: About,
    /// Guest's port or echo identifier, from a few.
    pub local: usize,
    /// Peer's port, from a few.
    pub remote: usize,
    /// Options or extension headers.
    pub extras: usize,
    /// Bytes of payload.
    pub len: usize,
}

/// With whom a guest talks.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The first or second guest of the host.
    Local(usize),
    /// A guest of the other host.
    Remote,
    /// An address of the subnet that nobody has.
    Nobody,
    /// The gateway's address.
    Gateway,
    /// Somebody outside.
    Outside,
    /// Somebody else outside.
    Elsewhere,
    /// The first guest's own address outside.
    Floating,
    /// A multicast group.
    Group,
}

/// What a packet is about.
#[derive(Clone, Copy, Debug)]
pub enum About {
    /// TCP with these flags and numbers.
    Tcp(u8, [u32; 2]),
    /// UDP, with or without checksum.
    Udp(bool),
    /// Echo request or reply.
    Echo(bool),
    /// Another ICMP message.
    Icmp(u8, u8),
    /// Another protocol.
    Other(u8),
}

/// Which address of the guest a packet from the underlay is for.
#[derive(Clone, Copy, Debug)]
pub enum To {
    /// The one inside.
    Private,
    /// Its first or second own one outside.
    Floating(bool),
    /// The shared one outside, with a port from a few.
    Snat(u16),
}

/// What the outer headers say.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// A guest of the VPC.
    Vpc,
    /// A guest of another VPC.
    OtherVpc,
    /// Outside.
    Outside,
    /// A guest of the VPC, but the frame is for another host.
    Astray,
}

/// How somebody answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// As expected.
    Fit,
    /// TCP with these flags.
    Flags(u8),
    /// By an ICMP error.
    Error,
}

/// What is not as usual.
#[derive(Clone, Copy, Debug)]
pub enum Oddity {
    /// Nothing.
    None,
    /// The checksum is left to the device.
    Partial,
    /// Another source MAC.
    SourceMac,
    /// Another destination MAC.
    DestinationMac,
    /// Another source address.
    SourceIp,
    /// TCP with other flags.
    Flags(u8),
    /// Other mark of the outer headers.
    Mark,
    /// Cut.
    Cut(usize),
    /// One bit is wrong.
    Bit(usize),
}

/// What a guest says to its gateway.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// Asks for a MAC address.
    Arp,
    /// Asks for a lease by broadcast, or of the gateway itself.
    Dhcp(bool),
    /// Asks for a router.
    Router,
    /// Asks for an echo; the checksum may be wrong.
    Echo(bool),
    /// Sends the gateway a datagram from and to DHCP's ports that is none of DHCP's.
    DhcpPorts,
}

fn oddity() -> impl Strategy<Value = Oddity> {
    prop_oneof![
        30 => Just(Oddity::None),
        2 => Just(Oddity::Partial),
        1 => Just(Oddity::SourceMac),
        1 => Just(Oddity::DestinationMac),
        1 => Just(Oddity::SourceIp),
        2 => flags().prop_map(Oddity::Flags),
        2 => Just(Oddity::Mark),
        1 => (0usize..120).prop_map(Oddity::Cut),
        1 => (0usize..1000).prop_map(Oddity::Bit),
    ]
}

/// All that matter, likely ones more often.
fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => Just(0x02u8),
        2 => Just(0x12),
        4 => Just(0x10),
        2 => Just(0x18),
        2 => Just(0x11),
        1 => Just(0x04),
        1 => 0u8..64,
    ]
}

fn talk() -> impl Strategy<Value = Talk> {
    let peer = prop_oneof![
        3 => (0usize..2).prop_map(Peer::Local),
        3 => Just(Peer::Remote),
        1 => Just(Peer::Nobody),
        1 => Just(Peer::Gateway),
        6 => Just(Peer::Outside),
        2 => Just(Peer::Elsewhere),
        1 => Just(Peer::Floating),
        1 => Just(Peer::Group),
    ];
    let about = prop_oneof![
        6 => (flags(), any::<[u32; 2]>()).prop_map(|(flags, numbers)| About::Tcp(flags, numbers)),
        4 => any::<bool>().prop_map(About::Udp),
        2 => any::<bool>().prop_map(About::Echo),
        1 => (0u8..20, 0u8..2).prop_map(|(kind, code)| About::Icmp(kind, code)),
        1 => (0u8..140, 0u8..2).prop_map(|(kind, code)| About::Icmp(kind, code)),
        1 => prop_oneof![Just(47u8), Just(132), Just(2), any::<u8>()].prop_map(About::Other),
    ];
    let extras = prop_oneof![4 => Just(0usize), 1 => 1usize..4];
    (any::<bool>(), peer, about, 0usize..4, 0usize..4, extras, 0usize..64).prop_map(
        |(ipv4, peer, about, local, remote, extras, len)| Talk {
            ipv4,
            peer,
            about,
            local,
            remote,
            extras,
            len,
        },
    )
}

fn inbound() -> impl Strategy<Value = Step> {
    let to = prop_oneof![
        3 => Just(To::Private),
        3 => any::<bool>().prop_map(To::Floating),
        1 => (0u16..8).prop_map(To::Snat),
    ];
    let from = prop_oneof![
        4 => Just(From::Vpc),
        1 => Just(From::OtherVpc),
        4 => Just(From::Outside),
        1 => Just(From::Astray),
    ];
    (0usize..2, talk(), to, from, oddity()).prop_map(|(port, talk, to, from, oddity)| Step::In {
        port,
        talk,
        to,
        from,
        oddity,
    })
}

fn answers() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        6 => Just(Answer::Fit),
        3 => flags().prop_map(Answer::Flags),
        1 => Just(Answer::Error),
    ];
    (0usize..16, how, oddity()).prop_map(|(at, how, oddity)| Step::Answer { at, how, oddity })
}

fn calls() -> impl Strategy<Value = Step> {
    let call = prop_oneof![
        Just(Call::Arp),
        any::<bool>().prop_map(Call::Dhcp),
        Just(Call::Router),
        any::<bool>().prop_map(Call::Echo),
        Just(Call::DhcpPorts),
    ];
    (0usize..2, call).prop_map(|(port, call)| Step::Link { port, call })
}

/// Any step.
pub fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..2, talk(), oddity())
            .prop_map(|(port, talk, oddity)| Step::Out { port, talk, oddity }),
        8 => inbound(),
        20 => answers(),
        24 => (0usize..16, oddity()).prop_map(|(at, oddity)| Step::Again { at, oddity }),
        1 => calls(),
        1 => (option::of(0usize..2), vec(any::<u8>(), 0..160))
            .prop_map(|(port, bytes)| Step::Noise { port, bytes }),
        2 => prop_oneof![0u64..1000, 1000u64..130_000, Just(10_000_000)].prop_map(Step::Wait),
        1 => (0u64..130_000).prop_map(Step::Idle),
        3 => changes().prop_map(Step::Change),
        1 => vec(changes(), 1..4).prop_map(Step::Apply),
    ]
}
