// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which external tuple a packet from outside is for.

use crate::flow_key::FlowKey;
use crate::headers::{Headers, Payload};
use crate::quote::Quote;
use opte_api::{Direction, Protocol};

/// What a packet from outside shows of the external tuple that it is for, beside the address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addressed {
    /// The protocol, and a port of it or the identifier of a query.
    Tuple(Protocol, u16),
    /// Nothing: that is in the first fragment of its packet.
    LaterFragment,
    /// It is for no tuple: its protocol has none, or it asks, or quotes nothing of use.
    Nothing,
}

impl Addressed {
    /// That of a packet; `head` is what its headers were read from. An ICMP error is for the tuple
    /// that the packet quoted in it came from (RFC 5508, section 4.2).
    pub fn of(head: &[u8], headers: &Headers) -> Self {
        let key = match &headers.payload {
            Payload::Arp => return Self::Nothing,
            Payload::Fragment(_, fragment) if !fragment.is_first() => return Self::LaterFragment,
            Payload::Ip(key) | Payload::Fragment(key, _) => key,
        };
        if !key.is_icmp_error() {
            return Self::by_key(key);
        }
        let quote = Quote::read(head, headers).ok().flatten();
        let about = quote.and_then(|quote| quote.answered(Direction::In, key));
        about.map_or(Self::Nothing, |about| Self::by_key(&about))
    }

    /// That of a packet of this key, which is no ICMP error.
    pub(crate) const fn by_key(key: &FlowKey) -> Self {
        let has_port = matches!(key.protocol(), Protocol::TCP | Protocol::UDP);
        // Of queries the answers are for somebody here.
        if has_port || (key.is_query() && !key.is_query_request()) {
            Self::Tuple(key.protocol(), key.dst_port())
        } else {
            Self::Nothing
        }
    }
}
