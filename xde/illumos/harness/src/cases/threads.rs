// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Two threads: one is in the middle of a packet, the other takes away what the packet is using, and
//! has to wait.

use super::{KERNELS, Setting};
use crate::host::{Host, ioctl};
use crate::scene::{HERE, as_received, datagram, got, host, send};
use anyhow::{Context as _, Result, ensure};
use opte_api::frame::{Request, encode_request, is_done};
use oxide_vpc_api::request::DeletePort;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::ddi::Who;
use xde_illumos_shim::guest::Guest;
use xde_illumos_shim::message;
use xde_illumos_shim::world;

/// Somebody who holds up whoever brings a packet, until it is told to go on.
#[derive(Default)]
struct Gate {
    reached: AtomicBool,
    open: AtomicBool,
}

impl Gate {
    fn hold_up(&self) {
        self.reached.store(true, Ordering::SeqCst);
        until(|| self.open.load(Ordering::SeqCst));
    }
}

fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// Makes a request while a packet is held up at a guest; whether it was served, and that it waited.
fn meanwhile<R: Request>(
    host: &mut Host,
    receiver: &Guest,
    bring: impl FnOnce() + Send,
    request: &R,
) -> Result<bool> {
    let frame = encode_request(request)?;
    let gate = Arc::new(Gate::default());
    let (at_gate, frame) = (gate.clone(), &frame);
    host.inside(|| {
        receiver.on_receive(Some(Arc::new(move || at_gate.hold_up())));
        let served = thread::scope(|scope| {
            let packet = scope.spawn(bring);
            until(|| gate.reached.load(Ordering::SeqCst));
            let asked = scope.spawn(|| ioctl(Who::Privileged, frame, &mut vec![0; 1 << 20]));
            until(|| world::waiting() > 0 || asked.is_finished());
            let waited = !asked.is_finished();
            gate.open.store(true, Ordering::SeqCst);
            packet.join().map_err(|_| anyhow::anyhow!("the packet's thread"))?;
            let answer = asked.join().map_err(|_| anyhow::anyhow!("the request's thread"))?;
            ensure!(waited, "the request does not wait for the packet");
            let answer = answer.map_err(|error| anyhow::anyhow!("error {error}"))?;
            Ok(is_done(&answer))
        });
        receiver.on_receive(None);
        served
    })
}

/// A port that is being delivered to is not deleted before the packet is through.
pub fn port(setting: &Setting<'_>) -> Result<String> {
    let [(five, at5), (six, at6)] = HERE;
    for kernel in KERNELS {
        let mut host = host(setting.loaded(), setting.options(kernel))?;
        let frame = datagram(five, six, [1000, 53], b"held up");
        let sender = host.take_guest(at5).context("no guest")?;
        let receiver = host.take_guest(at6).context("no guest")?;
        let message = host.inside(|| message::of(&frame, 0));
        let from = &sender.1;
        let bring = move || from.send(message, Context::Interrupt);
        let delete = DeletePort { name: six.port() };
        let served = meanwhile(&mut host, &receiver.1, bring, &delete)?;
        host.give_back_guest(at5, sender);
        host.give_back_guest(at6, receiver);
        ensure!(!served, "a port is deleted that somebody has open");
        ensure!(got(&mut host) == [(at6, as_received(&frame, six))], "the packet is lost");
        send(&mut host, at5, std::slice::from_ref(&frame), Context::Kernel);
        ensure!(got(&mut host) == [(at6, as_received(&frame, six))], "the port works no more");
        host.shut_down()?;
    }
    Ok("who deletes a port waits for the packet that is being delivered".into())
}
