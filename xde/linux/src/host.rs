// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What the engine takes from this host: exclusion, eyes, time and a secret.

use crate::sys::probes;
use opte::event::{Event, Traced};
use opte::host::{Host, Lock, Moment, Observer};
use parking_lot::Mutex;
use std::io::{self, Read};
use std::time::Instant;

/// The engine's host on Linux.
#[derive(Debug)]
pub struct LinuxHost;

impl Host for LinuxHost {
    type Lock<T: Send> = MutexLock<T>;
    type Token<T: Send> = MutexLock<T>;
    type Observer = Log;
}

/// A lock that spins for a moment, then sleeps.
#[derive(Debug)]
pub struct MutexLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for MutexLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock())
    }

    fn glance(&self) {
        std::hint::black_box(self.0.is_locked());
    }
}

/// Shows the engine's events to tracers, and writes them to the log at level TRACE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Observer for Log {
    fn tell<E: Traced>(&self, event: impl FnOnce() -> E) {
        if tracing::enabled!(target: "xde::event", tracing::Level::TRACE) {
            let event = event();
            tracing::trace!(target: "xde::event", event = ?Into::<Event>::into(event));
            probes::fire(|| event);
        } else {
            probes::fire(event);
        }
    }
}

/// Time since the process began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins to count.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time now.
    pub fn now(self) -> Moment {
        self.at(Instant::now())
    }

    /// The time at an instant since the beginning.
    pub fn at(self, instant: Instant) -> Moment {
        Moment::from_millis(instant.saturating_duration_since(self.0).as_millis() as u64)
    }
}

/// A secret for hashes and choices, from the system's random source.
pub fn secret() -> io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte::drop_reason::DropReason;
    use opte::event::Dropped;
    use opte::flow_key::FlowKey;
    use opte_api::{Direction, Protocol};
    use std::io::Write;
    use std::net::IpAddr;
    use std::sync::Arc;

    /// What is logged, for tests to read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// RFC 6888, REQ-12.
    #[test]
    fn where_packets_go_is_logged_for_who_asks_for_everything_alone() {
        let [src, dst] = ["10.0.0.5", "198.51.100.7"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let key = FlowKey::new(src, dst, Protocol::UDP, [1000, 53]);
        let (direction, reason) = (Direction::Out, DropReason::NatExhausted);
        for (filter, told) in [("info", false), ("debug", false), ("xde::event=trace", true)] {
            let page = Page::default();
            let writer = page.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                Log.tell(|| Dropped::new(0, direction, reason, Some(&key)));
                tracing::error!("this is logged");
            });
            let text = String::from_utf8(page.0.lock().clone()).unwrap();
            assert_eq!(text.contains("this is logged"), !told, "{filter}: {text}");
            // Events show addresses as bytes.
            let names = ["198, 51, 100, 7", "198.51.100.7"].iter().any(|ip| text.contains(ip));
            assert_eq!(names, told, "{filter}: {text}");
        }
    }
}
