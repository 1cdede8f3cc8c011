// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! UDP conversations that go on, each from one socket, and what ever changes about them.

use crate::load::OBSERVER;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take before the question is asked again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a question is asked.
const ATTEMPTS: usize = 6;

/// What the conversations came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Held {
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that had to be asked again.
    pub repeated: u64,
    /// Conversations that ended: a question was never answered.
    pub broken: u64,
    /// Times that the other end saw another address or port than before.
    pub moved: u64,
    /// Answers to somebody else's question.
    pub foreign: u64,
}

impl Held {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.repeated += other.repeated;
        self.broken += other.broken;
        self.moved += other.moved;
        self.foreign += other.foreign;
    }
}

/// Holds that many conversations for that long.
pub fn run(to: Ipv4Addr, sockets: u32, length: Duration) -> Result<Held> {
    let end = Instant::now() + length;
    let threads = (0..sockets).map(|number| thread::spawn(move || hold(to, number, end)));
    let threads: Vec<_> = threads.collect();
    let mut held = Held::default();
    for thread in threads {
        held.add(thread.join().ok().context("a conversation's thread ended")??);
    }
    Ok(held)
}

fn hold(to: Ipv4Addr, number: u32, end: Instant) -> Result<Held> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((to, OBSERVER))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut held, mut seen) = (Held::default(), None);
    let who = u64::from(std::process::id()) << 32 | u64::from(number);
    for turn in 0_u64.. {
        if Instant::now() >= end {
            break;
        }
        let question = [who.to_be_bytes(), turn.to_be_bytes()].concat();
        let Some(place) = ask(&socket, &question, &mut held)? else {
            held.broken += 1;
            break;
        };
        if seen.replace(place.clone()).is_some_and(|before| before != place) {
            held.moved += 1;
        }
        thread::sleep(PAUSE);
    }
    Ok(held)
}

/// Asks until there is an answer; answers where the other end saw us.
fn ask(socket: &UdpSocket, question: &[u8], held: &mut Held) -> Result<Option<String>> {
    let mut bytes = [0; 256];
    for attempt in 0..ATTEMPTS {
        held.repeated += u64::from(attempt > 0);
        // An ICMP error shows as an error of the next call; whoever sent it, we ask again.
        if socket.send(question).is_err() {
            continue;
        }
        while let Ok(len) = socket.recv(&mut bytes) {
            match bytes.get(..len).and_then(|bytes| bytes.split_at_checked(question.len())) {
                Some((asked, place)) if asked == question => {
                    held.answered += 1;
                    return Ok(Some(String::from_utf8_lossy(place).into_owned()));
                }
                // A late answer to an earlier attempt.
                Some((asked, _)) if asked.get(..8) == question.get(..8) => {}
                _ => held.foreign += 1,
            }
        }
    }
    Ok(None)
}
