// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The host as vectors and scenarios play with it.

use crate::host::{Host, Out};
use crate::module::{Fired, any_dropped, take_fired};
use opte::drop_reason::DropReason;
use opte::frame::FlatFrame;
use opte_tests::hypervisor::{Left, Played};
use xde::host::PortId;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::offload::Facts;

/// Reasons among probes that fired.
pub fn reasons(fired: Vec<Fired>) -> Vec<DropReason> {
    let reasons = fired.into_iter().filter_map(|fired| fired.reason);
    reasons.filter_map(|reason| DropReason::ALL.get(usize::from(reason)).copied()).collect()
}

impl Host {
    /// What came out, as tests tell it apart. A guest that has sent gets answers.
    fn left(&mut self, sender: Option<PortId>) -> Vec<Left> {
        let whole = |out: Out| out.bytes;
        let dropped = any_dropped();
        let guests = self.received().into_iter().map(|(port, out)| match sender {
            // What comes to a guest while its packet is dropped tells it so.
            Some(sender) if sender == port => Left::Reply(port, whole(out)),
            None if dropped => Left::Reply(port, whole(out)),
            _ => Left::Guest(port, whole(out)),
        });
        let mut left: Vec<Left> = guests.collect();
        // So does what leaves while a packet that came in is dropped.
        let leaves = |out| match sender {
            None if dropped => Left::Answer(whole(out)),
            _ => Left::Underlay(whole(out)),
        };
        left.extend(self.sent().into_iter().map(leaves));
        left
    }

    fn give(&mut self, frame: &FlatFrame, give: impl FnOnce(&mut Self, &crate::shape::Shaped)) {
        let shape = self.shape.clone();
        let shaped = self.inside(|| shape.of(&frame.bytes, Facts::default()));
        give(self, &shaped);
        assert!(self.inside(|| shaped.is_kept()), "data that others look at were changed");
    }
}

impl Played for Host {
    fn exchange(&mut self, frame: &[u8]) -> Vec<u8> {
        self.exchange_frame(frame)
    }

    fn guest_sends(&mut self, port: PortId, frame: FlatFrame) -> Vec<Left> {
        self.open_all().expect("links of ports can be opened");
        self.give(&frame, |host, shaped| host.send(port, shaped.message, Context::Interrupt));
        self.left(Some(port))
    }

    fn underlay_brings(&mut self, frame: FlatFrame) -> Vec<Left> {
        self.open_all().expect("links of ports can be opened");
        self.give(&frame, |host, shaped| host.arrive(shaped.message, Context::Kernel));
        self.left(None)
    }

    fn advance(&mut self, millis: u64) {
        self.wait(millis);
    }

    fn expire(&mut self) {
        self.inside(xde_illumos_shim::clock::make_due);
        self.tick();
    }

    fn drops(&mut self) -> Vec<DropReason> {
        reasons(take_fired())
    }
}

/// A host that somebody else ends.
pub struct Shared(pub std::rc::Rc<std::cell::RefCell<Option<Host>>>);

impl Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Host) -> R) -> R {
        f(self.0.borrow_mut().as_mut().expect("nobody has ended it"))
    }
}

impl Played for Shared {
    fn exchange(&mut self, frame: &[u8]) -> Vec<u8> {
        self.with(|host| host.exchange(frame))
    }

    fn guest_sends(&mut self, port: PortId, frame: FlatFrame) -> Vec<Left> {
        self.with(|host| Played::guest_sends(host, port, frame))
    }

    fn underlay_brings(&mut self, frame: FlatFrame) -> Vec<Left> {
        self.with(|host| Played::underlay_brings(host, frame))
    }

    fn advance(&mut self, millis: u64) {
        self.with(|host| host.advance(millis));
    }

    fn expire(&mut self) {
        self.with(Played::expire);
    }

    fn drops(&mut self) -> Vec<DropReason> {
        self.with(Played::drops)
    }
}
