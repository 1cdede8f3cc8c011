// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Copies of one frame for its receivers.

use super::{Counts, Receiver, add};
use crate::driver::{Arrivals, Driver, Look, parse};
use crate::host::{Egress, Moment};
use crate::snapshot::{Place, Snapshot};
use core::net::IpAddr;
use opte::drop_reason::DropReason;
use opte::event::{Dropped, NO_PORT};
use opte::frame::{Frame, Rewrite};
use opte::geneve::{Mark, OuterFacts};
use opte::headers::Headers;
use opte::host::{Host, Observer};
use opte::outer::Outer;
use opte_api::{Direction, Vni};
use oxide_vpc_api::mapping::BOUNDARY_VNI;
use oxide_vpc_api::multicast::{MULTICAST_VNI, Replication};

impl<H: Host> Driver<H> {
    /// Sends on what the guest of `sender` has sent to a group; `outer` is what its port put in
    /// front.
    pub(crate) fn send_to_group<F: Frame>(
        &self,
        snapshot: &Snapshot<H>,
        sender: Place<'_, H>,
        frame: F,
        (rewrite, outer): (&Rewrite, &Outer),
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        let mark = Mark::neighbour(outer.vni);
        let sent = || {
            let headers = parse(&frame, rewrite.strip.into(), mark)?;
            let (source, group) = ends(&headers)?;
            Ok((headers, source, group))
        };
        let (headers, source, group) = match sent() {
            Ok(sent) => sent,
            Err(reason) => return self.unheard(Direction::Out, reason),
        };
        let sender = sender.device.id;
        let group = snapshot.groups.get(group).filter(|group| group.underlay == outer.dst);
        let receivers = group.into_iter().flat_map(|group| group.receivers(sender, source));
        let mut copies =
            Copies { snapshot, headers, rewrite, outer: Some(*outer), count: &self.copies };
        if copies.make(frame, receivers, now, out) == 0 {
            self.unheard(Direction::Out, DropReason::NoListener);
        }
        let all = group.map_or(0, |group| {
            group.members.iter().filter(|member| member.port != sender).count() + group.hops.len()
        });
        let heard = group.map_or(0, |group| group.receivers(sender, source).count());
        add(&self.copies.filtered, all - heard);
    }

    /// Delivers what has come from the underlay for a group.
    pub(crate) fn arrive_at_group<F: Frame>(
        &self,
        snapshot: &Snapshot<H>,
        frame: F,
        outer: &OuterFacts,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        let arrived = || {
            let headers = parse(&frame, outer.inner, outer.mark())?;
            let (source, group) = ends(&headers)?;
            let group = snapshot.groups.get(group).ok_or(DropReason::NoListener)?;
            if outer.dst != group.underlay && !snapshot.switch.is_local(outer.dst) {
                return Err(DropReason::NoPort);
            }
            if !group.members.iter().any(|member| is_heard(outer, member.vni)) {
                let foreign = !group.members.is_empty();
                let reason =
                    if foreign { DropReason::MulticastVni } else { DropReason::NoListener };
                return Err(reason);
            }
            Ok((headers, source, group))
        };
        let (headers, source, group) = match arrived() {
            Ok(arrived) => arrived,
            Err(reason) => return self.unheard(Direction::In, reason),
        };
        let theirs = || group.members.iter().filter(|member| is_heard(outer, member.vni));
        let heard = || theirs().filter(|member| member.filter.allows(source));
        let receivers = heard().map(|member| Receiver::Guest(member.port));
        let rewrite = Rewrite::default();
        let mut copies =
            Copies { snapshot, headers, rewrite: &rewrite, outer: None, count: &self.copies };
        if copies.make(frame, receivers, now, out) == 0 {
            self.unheard(Direction::In, DropReason::NoListener);
        }
        add(&self.copies.filtered, theirs().count() - heard().count());
    }

    fn unheard(&self, direction: Direction, reason: DropReason) {
        self.counters.dropped(direction, reason);
        self.observer.tell(|| Dropped::new(NO_PORT, direction, reason, None));
    }
}

/// Source and group of a packet to a group.
fn ends(headers: &Headers) -> Result<(IpAddr, IpAddr), DropReason> {
    let key = headers.key().filter(|key| key.dst().is_multicast());
    key.map(|key| (key.src(), key.dst())).ok_or(DropReason::Multicast)
}

/// A guest of this VPC hears what has these outer headers: groups have a VNI of their own; what
/// comes from outside has the boundary's; and a VPC may have groups for itself.
fn is_heard(outer: &OuterFacts, vni: Vni) -> bool {
    let number = outer.vni.get();
    number == MULTICAST_VNI || outer.vni == vni || outer.external && number == BOUNDARY_VNI
}

/// Makes the copies of one frame.
struct Copies<'a, H: Host> {
    snapshot: &'a Snapshot<H>,
    headers: Headers,
    rewrite: &'a Rewrite,
    outer: Option<Outer>,
    count: &'a Counts,
}

impl<'a, H: Host> Copies<'a, H> {
    /// One for each receiver, of whom the last gets the frame itself. Answers how many.
    fn make<'r, F: Frame>(
        &mut self,
        frame: F,
        receivers: impl Iterator<Item = Receiver<'r>>,
        now: Moment,
        out: &mut impl Egress<F>,
    ) -> usize {
        let mut arrivals = Arrivals::default();
        let mut receivers = receivers.peekable();
        let (mut frame, mut made) = (Some(frame), 0);
        while let Some(receiver) = receivers.next() {
            let is_last = receivers.peek().is_none();
            let copy = if is_last { frame.take() } else { frame.as_ref().and_then(Frame::copy) };
            made += 1;
            match copy {
                Some(copy) => self.give(copy, &receiver, &mut arrivals, now, out),
                None => add(&self.count.not_copied, 1),
            }
        }
        arrivals.flush();
        made
    }

    fn give<F: Frame>(
        &self,
        frame: F,
        receiver: &Receiver<'_>,
        arrivals: &mut Arrivals<'a, H>,
        now: Moment,
        out: &mut impl Egress<F>,
    ) {
        match receiver {
            Receiver::Guest(port) => {
                let Some(place) = self.snapshot.device(*port) else { return };
                add(&self.count.to_guests, 1);
                // Nobody is told that a packet to a group did not pass (RFC 1122, section 3.2.2).
                drop(arrivals.deliver(&Look::new(place, Ok(self.headers)), frame, now, out));
            }
            Receiver::Hop(hop) => {
                add(
                    match hop.replication {
                        Replication::External => &self.count.to_external,
                        Replication::Underlay => &self.count.to_underlay,
                        Replication::Both => &self.count.to_both,
                    },
                    1,
                );
                let outer = self.outer.map(|outer| Outer { options: hop.options, ..outer });
                out.to_next_hop(frame, &Rewrite { outer, ..*self.rewrite }, hop.addr);
            }
        }
    }
}
