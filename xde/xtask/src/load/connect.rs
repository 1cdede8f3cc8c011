// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Short connections: open, ask, hear, and the server closes.

use crate::load::{PATIENCE, SHORT};
use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the request, and of its answer.
pub const REQUEST: usize = 16;
/// Connections of a thread, at most.
const MOST: u64 = 100_000;
/// Connections of a thread that may fail, at most.
const MAY_FAIL: u64 = 100;

/// What became of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Connections {
    /// That had their answer.
    pub done: u64,
    /// That had none in time.
    pub failed: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Opens connections from some threads at once, for that long.
pub fn run(to: Ipv4Addr, threads: usize, length: Duration) -> Result<Connections> {
    let to = SocketAddr::from((to, SHORT));
    once(&to).context("the first connection")?;
    let begin = Instant::now();
    let workers: Vec<_> =
        (0..threads).map(|_| thread::spawn(move || work(&to, begin, length))).collect();
    let mut sum = Connections::default();
    for worker in workers {
        let [done, failed] = worker.join().map_err(|_| anyhow!("a thread has failed"))?;
        sum.done += done;
        sum.failed += failed;
    }
    sum.seconds = begin.elapsed().as_secs_f64();
    ensure!(sum.done > 0, "no connection came to its end");
    Ok(sum)
}

fn work(to: &SocketAddr, begin: Instant, length: Duration) -> [u64; 2] {
    let [mut done, mut failed] = [0; 2];
    while begin.elapsed() < length && done < MOST && failed < MAY_FAIL {
        match once(to) {
            Ok(()) => done += 1,
            Err(_) => failed += 1,
        }
    }
    [done, failed]
}

fn once(to: &SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[1; REQUEST])?;
    let mut answer = Vec::with_capacity(REQUEST);
    stream.read_to_end(&mut answer)?;
    ensure!(answer.len() == REQUEST, "an answer of {} bytes", answer.len());
    Ok(())
}
