// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Three network namespaces and a boundary process in the middle one.

use opte_api::MacAddr;
use opte_ioctl::{OpteHdl, Request};
use oxide_vpc_api::request::DumpCounters;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Underlay addresses of the boundary and of the hypervisor.
pub const EDGE_UNDERLAY: &str = "fd00:99::99";
pub const HOST_UNDERLAY: &str = "fd00:99::1";
/// The guest's MAC address and VPC.
pub const GUEST_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]);
pub const GUEST_VNI: u32 = 1234;
/// The boundary's MAC address in inner frames.
pub const BOUNDARY_MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]);

/// Who is who on the outside link, in one family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The outside host.
    pub peer: IpAddr,
    /// The boundary.
    pub edge: IpAddr,
    /// The guest, by its entry in the NAT table.
    pub guest: IpAddr,
    /// Nobody.
    pub nobody: IpAddr,
}

pub const FAMILIES: [Family; 2] = [v4(), v6()];

const fn v4() -> Family {
    const fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, last))
    }
    Family { peer: ip(7), edge: ip(1), guest: ip(10), nobody: ip(99) }
}

const fn v6() -> Family {
    const fn ip(last: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
    }
    Family { peer: ip(7), edge: ip(1), guest: ip(0x10), nobody: ip(0x99) }
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// A UDP socket that does not wait for ever.
pub fn udp(local: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A TCP connection that does not wait for ever.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Waits until there is something to read or to accept.
pub fn wait_readable(fd: impl AsFd) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1, "nothing came in time");
}

/// Asks until `done` says so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// A network namespace, gone when dropped.
pub struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Self {
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self(name);
        // Addresses are used at once: nobody here has to wait for somebody else to claim them.
        let dad = "/proc/sys/net/ipv6/conf/default/accept_dad";
        namespace.run(|| std::fs::write(dad, "0")).unwrap();
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `f` on a thread in this namespace; sockets that it opens stay there.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.0);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let file = File::open(path).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), kind).unwrap();
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` in this namespace and answers what it prints.
    pub fn ip(&self, args: &[&str]) -> String {
        run(Command::new("ip").args(["-n", &self.0]).args(args))
    }

    /// What the kernel knows of a neighbour.
    pub fn neighbour(&self, ip: IpAddr) -> String {
        self.ip(&["neigh", "show", &ip.to_string()])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// outside --- edge (the boundary) --- inside (the hypervisor)
pub struct Lab {
    pub outside: Namespace,
    pub edge: Namespace,
    pub inside: Namespace,
    process: Child,
    socket: PathBuf,
}

impl Lab {
    /// Sets everything up. `None` without the rights for it.
    pub fn open() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |role: &str| format!("xb{}-{number}-{role}", std::process::id());
        let [outside, edge, inside] = ["out", "edge", "in"].map(|role| Namespace::new(name(role)));
        for (link, other, mtu) in [("out", &outside, "1500"), ("under", &inside, "9000")] {
            let peer = ["type", "veth", "peer", "name", link, "netns", &other.0];
            edge.ip(&[&["link", "add", link][..], &peer].concat());
            for side in [&edge, other] {
                side.ip(&["link", "set", link, "mtu", mtu, "up"]);
            }
        }
        for (side, link, prefix) in [
            (&outside, "out", "203.0.113.7/24".to_string()),
            (&outside, "out", "2001:db8::7/64".into()),
            (&edge, "out", "203.0.113.1/24".into()),
            (&edge, "out", "2001:db8::1/64".into()),
            (&edge, "under", format!("{EDGE_UNDERLAY}/64")),
            (&inside, "under", format!("{HOST_UNDERLAY}/64")),
        ] {
            let more: &[&str] = if prefix.contains("::") { &["nodad"] } else { &[] };
            side.ip(&[&["addr", "add", &prefix, "dev", link][..], more].concat());
        }
        let socket = std::env::temp_dir().join(name("sock"));
        let process = start(&edge, &socket);
        Some(Self { outside, edge, inside, process, socket })
    }

    /// Sends a request that must be granted.
    pub fn request<R: Request>(&self, request: &R) -> R::Response {
        let mut handle = OpteHdl::open_at(&self.socket).unwrap();
        handle.request(request).unwrap()
    }

    /// A counter of the boundary.
    pub fn counter(&self, name: &str) -> u64 {
        let sets = self.request(&DumpCounters { port: None });
        let counter = sets[0].counters.iter().find(|counter| counter.name == name);
        counter.unwrap_or_else(|| panic!("no counter {name}")).value
    }

    /// MAC address of the boundary on the outside link.
    pub fn edge_mac(&self) -> String {
        let link = self.edge.ip(&["-o", "link", "show", "out"]);
        let mut words = link.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).unwrap().into()
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks the boundary to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.wait()
    }

    /// Waits until the boundary has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Starts a boundary and waits until it says that it serves.
fn start(edge: &Namespace, socket: &Path) -> Child {
    let mut process = Command::new("ip")
        .args(["netns", "exec", &edge.0, env!("CARGO_BIN_EXE_xde"), "boundary"])
        .args(["--outside", "out", "--underlay-ip", EDGE_UNDERLAY, "--socket"])
        .arg(socket)
        .env("XDE_LOG", "info")
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("serves") {
        let len = log.read_line(&mut said).unwrap();
        assert!(len > 0, "the boundary has ended: {said}");
    }
    // Somebody must read what it says later, or it would wait for that.
    thread::spawn(move || log.read_to_end(&mut Vec::new()));
    process
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
