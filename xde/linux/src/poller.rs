// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Waiting for several things at once (epoll(7)), and being woken from another thread.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Sources that one wait tells of; others are told of by the next.
const MAX_EVENTS: usize = 64;

/// Waits until one of its sources can be read.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// Waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(MAX_EVENTS) })
    }

    /// Also waits for `source`, until it is closed or taken out.
    pub fn add(&self, source: &impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// No longer waits for `source`.
    pub fn remove(&self, source: &impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits for `timeout` at most, and puts the tokens of what can be read into `ready`.
    pub fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| event.data.u64()));
        Ok(())
    }
}

/// Wakes a thread that waits; may be cloned and sent anywhere.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A waker, to be added to a poller.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes it readable.
    pub fn wake(&self) -> io::Result<()> {
        match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            // It is at its maximum: readable already.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes it unreadable again.
    pub fn clear(&self) {
        // If there is nothing to be read, it is clear.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_is_readable() {
        let mut poller = Poller::new().unwrap();
        let (a, b) = (Waker::new().unwrap(), Waker::new().unwrap());
        poller.add(&a, 7).unwrap();
        poller.add(&b, 8).unwrap();
        let mut ready = vec![1];
        poller.wait(Duration::ZERO, &mut ready).unwrap();
        assert_eq!(ready, [0; 0]);
        b.clone().wake().unwrap();
        poller.wait(Duration::from_secs(60), &mut ready).unwrap();
        assert_eq!(ready, [8]);
        b.clear();
        a.wake().unwrap();
        poller.remove(&a).unwrap();
        poller.wait(Duration::ZERO, &mut ready).unwrap();
        assert_eq!(ready, [0; 0]);
    }
}
