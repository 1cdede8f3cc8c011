// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a guest sends to an external tuple of another port of this host (RFC 4787, REQ-9; RFC 5382, REQ-8; RFC 5508,
//! REQ-7): it is turned round here, and reaches the guest behind the tuple as if the boundary had
//! brought it, with its own external source. No boundary is needed for that.
//!
//! That a packet may be for this host is decided with its connection, by what was on loan or claimed
//! then ([`oxide_vpc::overlay`]), so packets that go anywhere else are not asked. Whose the tuple is now
//! is looked up for each packet, in the snapshot that decides on all of its way. What is not this
//! host's any more goes to the boundary.

use crate::answer::{Refused, give};
use crate::arrival::{datagram_of, readdressed, set_destination};
use crate::driver::{Arrivals, Driver, parse};
use crate::host::{Egress, Moment};
use crate::shared::Found;
use crate::snapshot::{Place, Snapshot};
use core::net::IpAddr;
use core::sync::atomic::Ordering;
use opte::drop_reason::DropReason;
use opte::frame::{FlatFrame, Frame, Rewrite};
use opte::geneve::Mark;
use opte::headers::{Headers, Payload};
use opte::host::{Host, Lock};
use opte::nat::Addressed;
use opte::outer::{GeneveOptions, Outer};
use oxide_vpc::Mappings;

/// Where a packet goes that was to be turned round.
enum Turn<'a, H: Host> {
    /// To a guest of this host.
    Here(Place<'a, H>, Headers),
    /// To the boundary.
    Away(Outer),
}

impl<H: Host> Driver<H> {
    /// Turns a packet of the guest of `sender` round, which its port has let out. Answers what is to be
    /// told to the sender, by the address that it has outside: apart, since stacks are short.
    #[inline(never)]
    pub(crate) fn turn<F: Frame>(
        &self,
        (snapshot, sender): (&Snapshot<H>, Place<'_, H>),
        mut frame: F,
        (rewrite, outer): (&Rewrite, &Outer),
        now: Moment,
        out: &mut impl Egress<F>,
    ) -> Option<Refused<F>> {
        match self.turned(snapshot, sender, (&frame, rewrite.strip), outer, now) {
            Ok(Turn::Here(place, headers)) => {
                let mut arrivals = Arrivals::default();
                let refused = arrivals.deliver(&readdressed(place, headers), frame, now, out);
                arrivals.flush();
                return refused;
            }
            Ok(Turn::Away(outer)) => {
                set_destination(&mut frame, rewrite.strip, sender.device.boundary_mac);
                out.to_underlay(frame, &Rewrite { outer: Some(outer), ..*rewrite });
            }
            Err(reason) => self.refuse(reason),
        }
        None
    }

    /// The same of a fragment that has waited, and of what the receiver of a packet is told.
    #[inline(never)]
    pub(crate) fn turn_released<F: Frame>(
        &self,
        (snapshot, sender): (&Snapshot<H>, Place<'_, H>),
        mut frame: FlatFrame,
        outer: &Outer,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        match self.turned(snapshot, sender, (&frame, 0), outer, now) {
            Ok(Turn::Here(place, Headers { mark, .. })) => {
                set_destination(&mut frame, 0, place.device.mac);
                give(place, frame.bytes, (mark, 0), now, out);
            }
            Ok(Turn::Away(outer)) => {
                set_destination(&mut frame, 0, sender.device.boundary_mac);
                out.answer(frame.bytes, &outer);
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn turned<'a>(
        &self,
        snapshot: &'a Snapshot<H>,
        sender: Place<'_, H>,
        (frame, strip): (&impl Frame, u16),
        outer: &Outer,
        now: Moment,
    ) -> Result<Turn<'a, H>, DropReason> {
        let headers = parse(frame, strip.into(), Mark::GUEST)?;
        let dst = headers.key().ok_or(DropReason::NatUnmapped)?.dst();
        let addressed = Addressed::of(frame.head(), &headers);
        let mut found = snapshot.shared.find(dst, addressed);
        if let Payload::Fragment(key, fragment) = headers.payload {
            let datagram = datagram_of(outer.vni, &key, fragment.id);
            found = self.pieces.with(|pieces| match found {
                Found::Port(port) if fragment.offset == 0 => {
                    pieces.passed(datagram, port, now, self);
                    found
                }
                Found::Foreign if fragment.offset > 0 => {
                    pieces.shown(&datagram, now).map_or(found, Found::Port)
                }
                _ => found,
            });
        }
        let port = match found {
            // What a guest sends to itself is for the boundary to turn round.
            Found::Port(port) if port != sender.device.id => port,
            Found::Nobody => return Err(DropReason::NatUnmapped),
            Found::Port(_) | Found::Foreign => return away(sender, dst, outer).map(Turn::Away),
        };
        let place = snapshot.device(port).ok_or(DropReason::NoPort)?;
        self.outside.turned.fetch_add(1, Ordering::Relaxed);
        let mark = Mark::turned(place.device.vni);
        Ok(Turn::Here(place, Headers { mark, ..headers }))
    }
}

/// Outer headers to a boundary that serves the destination.
fn away<H: Host>(sender: Place<'_, H>, dst: IpAddr, outer: &Outer) -> Result<Outer, DropReason> {
    let maps = sender.policy.rules.host_tables.downcast_ref::<Mappings>();
    let endpoint = maps.and_then(|maps| maps.boundary(dst)?.first());
    let endpoint = endpoint.ok_or(DropReason::NoBoundary)?;
    let (dst, vni) = (endpoint.underlay_ip, endpoint.vni);
    Ok(Outer { dst, vni, options: GeneveOptions::NONE, ..*outer })
}
