// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Two hosts, each with a guest, in network namespaces; the hosts' loops run on threads of this
//! process.

use crate::bare::{Bare, PORT};
use opte::outer::GeneveOptions;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use xde_linux::check;
use xde_linux::counters::{Counter, Counters};
use xde_linux::crew::{self, Crew};
use xde_linux::host::Clock;
use xde_linux::port::link::Link;
use xde_linux::port::tap::Tap;
use xde_linux::port::{GuestOffloads, PortKind};
use xde_linux::sys::{link, tun};
use xde_linux::underlay::udp::UdpUnderlay;
use xde_linux::worker::{Pace, Worker};

/// Name of each port's device.
pub const DEVICE: &str = "g0";
/// Name of each underlay link.
pub const LINK: &str = "u0";

/// Runs `test` if this machine lets it, or says that it is skipped.
pub fn as_root(name: &str, test: impl FnOnce()) {
    if tun::open().is_ok() {
        in_namespaces(name, test);
    } else {
        println!("{name}: skipped, it needs root and {}", tun::CLONE_DEVICE);
    }
}

/// Runs `test`, which needs no device but those of namespaces.
pub fn in_namespaces(name: &str, test: impl FnOnce()) {
    if rustix::process::geteuid().is_root() {
        test();
    } else {
        println!("{name}: skipped, it needs root, if only of a user namespace");
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

    /// What the MAC address of a link of this namespace is.
    pub fn mac(&self, link: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.0, "-br", "link", "show", link]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.split_whitespace().nth(2).unwrap().to_owned()
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

/// How two hosts are made.
#[derive(Clone, Copy)]
pub struct Plan {
    pub underlay_mtu: u16,
    pub offloads: GuestOffloads,
    pub ports: PortKind,
    pub workers: usize,
    /// In each packet between the hosts.
    pub options: GeneveOptions,
}

impl Plan {
    /// The usual way, but for these.
    pub fn new(underlay_mtu: u16, offloads: GuestOffloads) -> Self {
        let options = GeneveOptions::NONE;
        Self { underlay_mtu, offloads, ports: PortKind::Tap, workers: 1, options }
    }
}

/// A host with one port, and its guest.
pub struct Host {
    pub namespace: Namespace,
    pub guest: Namespace,
    pub counters: Arc<Counters>,
    pub crew: Crew,
    stop: Option<UnixStream>,
    packets: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Host {
    fn start(namespace: Namespace, number: u16, plan: Plan) -> Self {
        let addr = |number: u16| format!("fd00::{number}").parse().unwrap();
        let engine = Arc::new(Bare::new(addr(number), addr(3 - number), plan.options));
        let (stop, stopped) = UnixStream::pair().unwrap();
        let counters = Arc::new(Counters::default());
        let (mut remotes, mut packets) = (Vec::new(), Vec::new());
        for _ in 0..plan.workers {
            let (orders, remote) = crew::remote().unwrap();
            let (engine, counters) = (Arc::clone(&engine), Arc::clone(&counters));
            let stopped = stopped.try_clone().unwrap();
            let (clock, pace) = (Clock::start(), Pace::default());
            packets.push(thread::spawn(move || {
                Worker::new(orders, engine, clock, pace, counters)?.run(&stopped)
            }));
            remotes.push(remote);
        }
        let crew = Crew::new(remotes);
        namespace.enter(|| {
            let links = [link::index(LINK).unwrap()];
            let underlays = UdpUnderlay::open(&links, check::joining(), plan.workers).unwrap();
            crew.set_underlay(underlays).unwrap();
        });
        let guest = attach(&namespace, &crew, plan);
        guest.ip(&format!("link set {DEVICE} up"));
        guest.ip(&format!("addr add 10.0.0.{number}/24 dev {DEVICE}"));
        guest.ip(&format!("addr add fd99::{number}/64 dev {DEVICE} nodad"));
        Self { namespace, guest, counters, crew, stop: Some(stop), packets }
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.counters.value(counter)
    }
}

/// A guest, and the port's device that leads to it.
fn attach(namespace: &Namespace, crew: &Crew, plan: Plan) -> Namespace {
    let guest = Namespace::new("guest");
    match plan.ports {
        PortKind::Tap => {
            let queues =
                namespace.enter(|| Tap::create(DEVICE, 1500, plan.offloads, plan.workers).unwrap());
            crew.add_port(PORT, queues).unwrap();
            namespace.ip(&format!("link set {DEVICE} netns {}", guest.name()));
        }
        PortKind::Link => {
            let peer = format!("type veth peer name {DEVICE} netns {}", guest.name());
            namespace.ip(&format!("link add {DEVICE} {peer}"));
            namespace.ip(&format!("link set {DEVICE} up"));
            // The kernel's settings are those of the thread's namespace.
            let queues = namespace.enter(|| Link::open(DEVICE, 1500, plan.workers).unwrap());
            crew.add_port(PORT, queues).unwrap();
        }
    }
    guest
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stop.take());
        for packets in self.packets.drain(..) {
            if !thread::panicking() {
                packets.join().unwrap().unwrap();
            }
        }
    }
}

/// Two hosts, with an underlay of that MTU between them.
pub fn two_hosts(underlay_mtu: u16, offloads: GuestOffloads) -> [Host; 2] {
    planned_hosts(Plan::new(underlay_mtu, offloads))
}

/// Two hosts of that plan, with an underlay between them.
pub fn planned_hosts(plan: Plan) -> [Host; 2] {
    let [one, two] = [Namespace::new("h1"), Namespace::new("h2")];
    let other = two.name();
    one.ip(&format!("link add {LINK} type veth peer name {LINK} netns {other}"));
    for (namespace, number) in [(&one, 1), (&two, 2)] {
        namespace.ip(&format!("link set {LINK} mtu {} up", plan.underlay_mtu));
        namespace.ip(&format!("addr add fd00::{number}/64 dev {LINK} nodad"));
    }
    [Host::start(one, 1, plan), Host::start(two, 2, plan)]
}
