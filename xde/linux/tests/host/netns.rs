// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Two hosts, each with a guest, in network namespaces; the hosts' loops run on threads of this
//! process.

use crate::bare::{Bare, PORT};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use xde_linux::counters::{Counter, Counters};
use xde_linux::host::Clock;
use xde_linux::sys::{link, tun};
use xde_linux::tap::{GuestOffloads, Tap};
use xde_linux::underlay::udp::UdpUnderlay;
use xde_linux::worker::{self, Command as Order, Pace, Remote, Worker};

/// Name of each port's device.
pub const DEVICE: &str = "g0";
/// Name of each underlay link.
pub const LINK: &str = "u0";

/// Runs `test` if this machine lets it, or says that it is skipped.
pub fn as_root(name: &str, test: impl FnOnce()) {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && tun::open().is_ok() {
        test();
    } else {
        println!("{name}: skipped, it needs root and {}", tun::CLONE_DEVICE);
    }
}

/// A network namespace, gone when dropped.
pub struct Namespace(String);

impl Namespace {
    pub fn new(role: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self(format!("xl{}-{number}-{role}", std::process::id()));
        run(Command::new("ip").args(["netns", "add", &namespace.0]));
        // Addresses are used at once: nobody here has to wait for somebody else to claim them.
        let dad = "/proc/sys/net/ipv6/conf/default/accept_dad";
        namespace.enter(|| std::fs::write(dad, "0")).unwrap();
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `f` on a thread in this namespace; what it opens stays there.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` in this namespace.
    pub fn ip(&self, args: &str) {
        run(Command::new("ip").args(["-n", &self.0]).args(args.split(' ')));
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

/// A host with one port, and its guest.
pub struct Host {
    pub namespace: Namespace,
    pub guest: Namespace,
    pub counters: Arc<Counters>,
    pub remote: Remote,
    stop: Option<UnixStream>,
    packets: Option<JoinHandle<std::io::Result<()>>>,
}

impl Host {
    fn start(namespace: Namespace, number: u16, offloads: GuestOffloads) -> Self {
        let addr = |number: u16| format!("fd00::{number}").parse().unwrap();
        let engine = Arc::new(Bare::new(addr(number), addr(3 - number)));
        let (stop, stopped) = UnixStream::pair().unwrap();
        let (orders, remote) = worker::remote().unwrap();
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        let packets = thread::spawn(move || {
            Worker::new(orders, engine, Clock::start(), Pace::default(), shared)?.run(&stopped)
        });
        let (tap, underlay) = namespace.enter(|| {
            let tap = Tap::create(DEVICE, 1500, offloads).unwrap();
            (tap, UdpUnderlay::open(vec![link::index(LINK).unwrap()]).unwrap())
        });
        remote.order(Order::SetUnderlay(Box::new(underlay))).unwrap();
        remote.order(Order::AddPort(PORT, tap)).unwrap();
        let guest = Namespace::new("guest");
        namespace.ip(&format!("link set {DEVICE} netns {}", guest.name()));
        guest.ip(&format!("link set {DEVICE} up"));
        guest.ip(&format!("addr add 10.0.0.{number}/24 dev {DEVICE}"));
        guest.ip(&format!("addr add fd99::{number}/64 dev {DEVICE} nodad"));
        let (stop, packets) = (Some(stop), Some(packets));
        Self { namespace, guest, counters, remote, stop, packets }
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.counters.value(counter)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(packets) = self.packets.take()
            && !thread::panicking()
        {
            packets.join().unwrap().unwrap();
        }
    }
}

/// Two hosts, with an underlay of that MTU between them.
pub fn two_hosts(underlay_mtu: u16, offloads: GuestOffloads) -> [Host; 2] {
    let [one, two] = [Namespace::new("h1"), Namespace::new("h2")];
    let other = two.name();
    one.ip(&format!("link add {LINK} type veth peer name {LINK} netns {other}"));
    for (namespace, number) in [(&one, 1), (&two, 2)] {
        namespace.ip(&format!("link set {LINK} mtu {underlay_mtu} up"));
        namespace.ip(&format!("addr add fd00::{number}/64 dev {LINK} nodad"));
    }
    [Host::start(one, 1, offloads), Host::start(two, 2, offloads)]
}
