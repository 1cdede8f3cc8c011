// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One request at a time, and how long its answer takes.

use crate::load::PATIENCE;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Bytes of a request, and of its answer.
pub const REQUEST: usize = 32;
/// Requests whose times are not counted: addresses are resolved, connections are made.
const WARM_UP: usize = 50;
/// Requests, at most.
const MOST: usize = 200_000;
/// Answers that may be missing.
const MAY_MISS: u32 = 5;

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Times {
    /// Half of the answers were here.
    pub p50: f64,
    /// All but one of a hundred were.
    pub p99: f64,
    /// Answers.
    pub count: usize,
}

/// Asks for that long.
pub fn run(to: SocketAddr, tcp: bool, length: Duration) -> Result<Times> {
    let mut bytes = [7; REQUEST];
    if tcp {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        measure(length, || {
            stream.write_all(&bytes)?;
            stream.read_exact(&mut bytes)
        })
    } else {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE / 2))?;
        measure(length, || {
            socket.send(&bytes)?;
            socket.recv(&mut bytes).map(drop)
        })
    }
}

fn measure(length: Duration, mut ask: impl FnMut() -> std::io::Result<()>) -> Result<Times> {
    let mut times = Vec::new();
    let mut missing = 0;
    let begin = Instant::now();
    while times.len() < MOST && begin.elapsed() < length {
        let sent = Instant::now();
        match ask() {
            Ok(()) => times.push(sent.elapsed()),
            Err(error) => {
                missing += 1;
                ensure!(missing <= MAY_MISS, "{missing} answers are missing: {error}");
            }
        }
    }
    ensure!(times.len() > 2 * WARM_UP, "{} answers only", times.len());
    Ok(summary(times.split_off(WARM_UP)))
}

fn summary(mut times: Vec<Duration>) -> Times {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        times.get(index.min(times.len() - 1)).map_or(0.0, |time| time.as_nanos() as f64 / 1e3)
    };
    Times { p50: at(0.5), p99: at(0.99), count: times.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let times = summary((1..=1000).rev().map(Duration::from_micros).collect());
        assert_eq!((times.p50, times.p99, times.count), (501.0, 991.0, 1000));
    }
}
