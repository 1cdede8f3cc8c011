// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The far end of every load.

use crate::load::{
    ECHO, ECHO_PINNED, OBSERVER, PATIENCE, SHORT, SINK, connect, ping, sink, stay_on_first_cpu,
};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// Threads that take short connections.
const TAKERS: usize = 4;
/// What this program says when it can be asked.
pub const READY: &str = "ready";

/// Serves for that long, unless it is ended before.
pub fn run(length: Duration) -> Result<()> {
    let socket = udp(SINK)?;
    spawn("sink", move || sink::run(&socket))?;
    for (port, pinned) in [(ECHO, false), (ECHO_PINNED, true)] {
        let (socket, listener) = (udp(port)?, tcp(port)?);
        spawn("echo-udp", move || {
            if pinned {
                stay_on_first_cpu()?;
            }
            echo_udp(&socket)
        })?;
        spawn("echo-tcp", move || {
            if pinned {
                stay_on_first_cpu()?;
            }
            echo_tcp(&listener)
        })?;
    }
    let socket = udp(OBSERVER)?;
    spawn("observer", move || observe(&socket))?;
    let listener = tcp(SHORT)?;
    for _ in 0..TAKERS {
        let listener = listener.try_clone()?;
        spawn("short", move || take_short(&listener))?;
    }
    println!("{READY}");
    thread::sleep(length);
    Ok(())
}

fn udp(port: u16) -> Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).with_context(|| format!("UDP port {port}"))
}

fn tcp(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).with_context(|| format!("TCP port {port}"))
}

/// A server that fails takes the process along, so that nobody waits for it.
fn spawn(name: &str, serve: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let named = name.to_owned();
    thread::Builder::new().name(named.clone()).spawn(move || {
        if let Err(error) = serve() {
            eprintln!("{named}: {error:#}");
            std::process::exit(1);
        }
    })?;
    Ok(())
}

fn echo_udp(socket: &UdpSocket) -> Result<()> {
    let mut bytes = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut bytes)?;
        // Who misses the answer asks again.
        let _ = socket.send_to(&bytes[..len], from);
    }
}

fn observe(socket: &UdpSocket) -> Result<()> {
    let mut bytes = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut bytes)?;
        let answer = [&bytes[..len], from.to_string().as_bytes()].concat();
        let _ = socket.send_to(&answer, from); // As above.
    }
}

/// One client after the other.
fn echo_tcp(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        // A client that goes away ends its own connection only.
        let _ = echo_stream(&mut stream);
    }
}

fn echo_stream(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    let mut bytes = [0; ping::REQUEST];
    loop {
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)?;
    }
}

fn take_short(listener: &TcpListener) -> Result<()> {
    loop {
        let Ok((mut stream, _)) = listener.accept() else { continue };
        let _ = answer_short(&mut stream); // As above.
    }
}

fn answer_short(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; connect::REQUEST];
    stream.read_exact(&mut request)?;
    stream.write_all(&request)
}
