// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A scripted hypervisor: Geneve on one side, a guest with a TCP/IP stack of its own on the other.
//! It checks every header between the two, and its stack checks every checksum.

use crate::lab::{
    BOUNDARY_MAC, EDGE_UNDERLAY, FAMILIES, GUEST_MAC, GUEST_VNI, HOST_UNDERLAY, Lab, PATIENCE,
    pattern,
};
use opte_api::Vni;
use oxide_vpc_api::BoundaryNat;
use oxide_vpc_api::request::AddBoundaryNat;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp as datagrams};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpProtocol, IpRepr, UdpRepr};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The guest sends [`DOWNLOAD_LEN`] bytes of [`pattern`] to who connects here.
pub const DOWNLOAD_PORT: u16 = 80;
pub const DOWNLOAD_LEN: usize = 3 << 20;
/// The guest answers with a [`Digest`] of what it was sent here.
pub const COUNT_PORT: u16 = 81;
/// The guest returns datagrams that are sent here.
pub const ECHO_PORT: u16 = 7;
/// Both ports of the datagrams of [`udp`].
pub const UDP_PORT: u16 = 4444;

const BUFFER: usize = 1 << 18;
/// Datagrams that are taken or given together.
const BURST: usize = 64;
/// How long the script waits for a datagram before it looks at everything else again.
const TURN: Duration = Duration::from_millis(1);

/// Length and sum of a stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Digest {
    len: u64,
    hash: u64,
}

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.add(bytes);
        digest
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.len) << 64 | u128::from(self.hash)).to_be_bytes()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

enum Order {
    Send(Vec<u8>),
    Connect(SocketAddr),
}

/// The hypervisor, on a thread of its own until it is dropped.
pub struct Hypervisor {
    orders: Option<Sender<Order>>,
    errors: Receiver<(IpAddr, [u8; 2])>,
    thread: Option<JoinHandle<()>>,
}

impl Hypervisor {
    /// Starts it, and tells the boundary of its guest.
    pub fn start(lab: &Lab) -> Self {
        for family in FAMILIES {
            let entry = BoundaryNat {
                ip: family.guest,
                first_port: 0,
                last_port: u16::MAX,
                underlay_ip: HOST_UNDERLAY.parse().unwrap(),
                vni: Vni::new(GUEST_VNI).unwrap(),
                mac: GUEST_MAC,
            };
            lab.request(&AddBoundaryNat { entry });
        }
        let local = SocketAddr::new(HOST_UNDERLAY.parse().unwrap(), 6081);
        let socket = lab.inside.run(|| UdpSocket::bind(local).unwrap());
        let (orders, inbox) = channel();
        let (outbox, errors) = channel();
        let thread = thread::spawn(move || Script::new(socket, outbox).run(&inbox));
        Self { orders: Some(orders), errors, thread: Some(thread) }
    }

    /// Sends an IP packet of a guest to the boundary.
    pub fn send(&self, packet: Vec<u8>) {
        self.order(Order::Send(packet));
    }

    /// Sends a packet, and answers who told the guest what is wrong with it.
    pub fn icmp_answer(&self, packet: Vec<u8>) -> (IpAddr, [u8; 2]) {
        self.send(packet);
        self.errors.recv_timeout(PATIENCE).expect("no ICMP error came")
    }

    /// Has the guest connect there, send [`DOWNLOAD_LEN`] bytes, and close.
    pub fn connect(&self, to: SocketAddr) {
        self.order(Order::Connect(to));
    }

    fn order(&self, order: Order) {
        self.orders.as_ref().unwrap().send(order).expect("the hypervisor has failed");
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        self.orders = None;
        let ended = self.thread.take().unwrap().join();
        if let Err(panic) = ended
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A UDP packet of `len` bytes of data that must not be fragmented.
pub fn udp(src: IpAddr, dst: IpAddr, hops: u8, len: usize) -> Vec<u8> {
    let udp = UdpRepr { src_port: UDP_PORT, dst_port: UDP_PORT };
    let payload_len = 8 + len;
    let (src, dst) = (IpAddress::from(src), IpAddress::from(dst));
    let ip = IpRepr::new(src, dst, IpProtocol::Udp, payload_len, hops);
    let mut bytes = vec![0; ip.buffer_len()];
    let all = smoltcp::phy::ChecksumCapabilities::default();
    ip.emit(&mut bytes, &all);
    let mut packet = smoltcp::wire::UdpPacket::new_unchecked(&mut bytes[ip.header_len()..]);
    udp.emit(&mut packet, &src, &dst, len, |body| body.fill(7), &all);
    bytes
}

/// Packets on their way to and from the guest's stack.
#[derive(Default)]
struct Wire {
    to_guest: VecDeque<Vec<u8>>,
    from_guest: VecDeque<Vec<u8>>,
}

struct Taken(Vec<u8>);

impl RxToken for Taken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Given<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Given<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Taken;
    type TxToken<'a> = Given<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Taken, Given<'_>)> {
        let packet = self.to_guest.pop_front()?;
        Some((Taken(packet), Given(&mut self.from_guest)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Given<'_>> {
        Some(Given(&mut self.from_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

struct Script {
    socket: UdpSocket,
    errors: Sender<(IpAddr, [u8; 2])>,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// Two of each, so that one listens while the other is still closing.
    downloads: [Stream; 2],
    counts: [Stream; 2],
    client: Stream,
    echo: SocketHandle,
}

/// A TCP socket, and how far it is.
struct Stream {
    socket: SocketHandle,
    sent: usize,
    received: Digest,
}

impl Script {
    fn new(socket: UdpSocket, errors: Sender<(IpAddr, [u8; 2])>) -> Self {
        socket.set_read_timeout(Some(TURN)).unwrap();
        let mut wire = Wire::default();
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut wire, Instant::now());
        interface.update_ip_addrs(|addresses| {
            for family in FAMILIES {
                let len = if family.guest.is_ipv4() { 32 } else { 128 };
                addresses.push(IpCidr::new(family.guest.into(), len)).unwrap();
            }
        });
        for family in FAMILIES {
            match family.edge {
                IpAddr::V4(ip) => interface.routes_mut().add_default_ipv4_route(ip).map(drop),
                IpAddr::V6(ip) => interface.routes_mut().add_default_ipv6_route(ip).map(drop),
            }
            .unwrap();
        }
        let stream = |sockets: &mut SocketSet<'static>| {
            let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
            let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
            Stream { socket, sent: 0, received: Digest::default() }
        };
        let packets = || {
            let metadata = vec![datagrams::PacketMetadata::EMPTY; 8];
            datagrams::PacketBuffer::new(metadata, vec![0; 1 << 14])
        };
        let mut echo = datagrams::Socket::new(packets(), packets());
        echo.bind(ECHO_PORT).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        Self {
            downloads: [(); 2].map(|()| stream(&mut sockets)),
            counts: [(); 2].map(|()| stream(&mut sockets)),
            client: stream(&mut sockets),
            echo: sockets.add(echo),
            socket,
            errors,
            wire,
            interface,
            sockets,
        }
    }

    /// Works until nobody can give orders any more.
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            self.serve();
            match orders.try_recv() {
                Ok(Order::Send(packet)) => self.encapsulate(&packet),
                Ok(Order::Connect(to)) => self.connect(to),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            self.receive();
            self.interface.poll(Instant::now(), &mut self.wire, &mut self.sockets);
            self.serve();
            self.emit();
            while let Some(packet) = self.wire.from_guest.pop_front() {
                self.encapsulate(&packet);
            }
        }
    }

    /// Lets the stack send: one packet of each socket a time, until there is none or a burst.
    fn emit(&mut self) {
        for _ in 0..BURST {
            let before = self.wire.from_guest.len();
            self.interface.poll_egress(Instant::now(), &mut self.wire, &mut self.sockets);
            if self.wire.from_guest.len() == before {
                return;
            }
        }
    }

    /// What has come over the underlay goes to the guest; ICMP errors are told to the test.
    fn receive(&mut self) {
        let mut bytes = [0; 9000];
        for _ in 0..BURST {
            let Ok((len, from)) = self.socket.recv_from(&mut bytes) else { return };
            assert_eq!(from.ip(), EDGE_UNDERLAY.parse::<IpAddr>().unwrap());
            let (geneve, inner) = bytes[..len].split_at(12);
            let [_, v0, v1, v2] = GUEST_VNI.to_be_bytes();
            assert_eq!(geneve, [1, 0, 0x65, 0x58, v0, v1, v2, 0, 1, 0x29, 0, 0]);
            let (ether, packet) = inner.split_at(14);
            assert_eq!(ether[..12], [GUEST_MAC.0, BOUNDARY_MAC.0].concat());
            let _ = icmp_error(packet).map(|error| self.errors.send(error));
            self.wire.to_guest.push_back(packet.to_vec());
        }
    }

    fn encapsulate(&self, packet: &[u8]) {
        let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        let geneve = [0, 0, 0x65, 0x58, 0, 0, 99, 0];
        let ether = [&BOUNDARY_MAC.0[..], &GUEST_MAC.0, &kind].concat();
        let datagram = [&geneve[..], &ether, packet].concat();
        let to = SocketAddr::new(EDGE_UNDERLAY.parse().unwrap(), 6081);
        self.socket.send_to(&datagram, to).unwrap();
    }

    fn connect(&mut self, to: SocketAddr) {
        let client = self.sockets.get_mut::<tcp::Socket>(self.client.socket);
        client.abort();
        self.client.sent = 0;
        let to = (IpAddress::from(to.ip()), to.port());
        client.connect(self.interface.context(), to, 50_000 + to.1 % 1000).unwrap();
    }

    fn serve(&mut self) {
        for stream in &mut self.downloads {
            let socket = self.sockets.get_mut(stream.socket);
            stream.listen(socket, DOWNLOAD_PORT);
            stream.push(socket);
        }
        for stream in &mut self.counts {
            let socket = self.sockets.get_mut(stream.socket);
            stream.listen(socket, COUNT_PORT);
            stream.count(socket);
        }
        self.client.push(self.sockets.get_mut(self.client.socket));
        let echo = self.sockets.get_mut::<datagrams::Socket>(self.echo);
        while let Ok((data, from)) = echo.recv().map(|(data, from)| (data.to_vec(), from)) {
            echo.send_slice(&data, from).unwrap();
        }
    }
}

impl Stream {
    /// Listens anew after the end of a connection; who closed first need not wait here.
    fn listen(&mut self, socket: &mut tcp::Socket<'_>, port: u16) {
        if matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait) {
            (self.sent, self.received) = (0, Digest::default());
            socket.abort();
            socket.listen(port).unwrap();
        }
    }

    /// Sends what is left of the pattern, as far as there is room, and closes after it.
    fn push(&mut self, socket: &mut tcp::Socket<'_>) {
        let all = PATTERN.get_or_init(|| pattern(DOWNLOAD_LEN));
        while self.sent < all.len() && socket.can_send() {
            self.sent += socket.send_slice(&all[self.sent..]).unwrap();
            if self.sent == all.len() {
                socket.close();
            }
        }
    }

    /// Takes everything, and tells what it was when there is no more.
    fn count(&mut self, socket: &mut tcp::Socket<'_>) {
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                self.received.add(bytes);
                (bytes.len(), ())
            });
            taken.unwrap();
        }
        if socket.state() == tcp::State::CloseWait {
            socket.send_slice(&self.received.to_bytes()).unwrap();
            socket.close();
        }
    }
}

static PATTERN: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();

/// Who sent an ICMP error, and its type and code.
fn icmp_error(packet: &[u8]) -> Option<(IpAddr, [u8; 2])> {
    let (from, icmp): (IpAddr, &[u8]) = if packet[0] >> 4 == 4 && packet[9] == 1 {
        let from: [u8; 4] = packet[12..16].try_into().unwrap();
        (from.into(), &packet[20..])
    } else if packet[0] >> 4 == 6 && packet[6] == 58 {
        let from: [u8; 16] = packet[8..24].try_into().unwrap();
        (from.into(), &packet[40..])
    } else {
        return None;
    };
    let is_error = if from.is_ipv4() { matches!(icmp[0], 3 | 11) } else { icmp[0] < 128 };
    is_error.then_some((from, [icmp[0], icmp[1]]))
}
