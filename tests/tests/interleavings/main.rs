// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The engine in every order in which the lock sections of two threads can follow each other.
//!
//! The engine takes its locks from its host, so here they are those of the model checker `shuttle`,
//! which decides before each of them who goes on. Where there are few orders, all are tried; else
//! some thousands at random, the same each time, or all of them if the environment variable
//! `ALL_ORDERS` is set (minutes).
//!
//! What the checker does not see are plain atomic operations, above all those of the index: they
//! run in one piece from one lock to the next, and in the order of the program. So a look-up may
//! find an entry whose cell is another flow's by the time it has the cell's lock, but it never sees
//! half of an insertion. Real threads (`threads.rs`) do that.

mod port;
mod table;

use opte::host::{Blind, Host, Lock, Moment};
use shuttle::scheduler::{DfsScheduler, RandomScheduler};
use shuttle::sync::Mutex;
use shuttle::{Config, Runner, thread};
use std::sync::Arc;

const NOW: Moment = Moment::from_millis(1_000_000);
/// Idle limit of UDP, in milliseconds.
const IDLE: u64 = 300_000;
/// A flow is looked at up to two ticks of 64 ms after it may end.
const SLACK: u64 = 128;

/// A lock of the model checker.
struct ModelLock<T>(Mutex<T>);

impl<T: Send> Lock<T> for ModelLock<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }
}

enum ModelHost {}

impl Host for ModelHost {
    type Lock<T: Send> = ModelLock<T>;
    type Token<T: Send> = ModelLock<T>;
    type Observer = Blind;
}

fn config() -> Config {
    let mut config = Config::default();
    config.silence_warnings = true;
    // A whole packet is decided on it.
    config.stack_size = 1 << 19;
    config
}

/// Runs `f` in all orders, of which there are few.
fn in_all_orders(f: impl Fn() + Send + Sync + 'static) {
    const BOUND: usize = 10_000;
    let orders = Runner::new(DfsScheduler::new(Some(BOUND), false), config()).run(f);
    assert!((2..BOUND).contains(&orders), "{orders}");
}

/// Runs `f` in some of very many orders.
fn in_many_orders(f: impl Fn() + Send + Sync + 'static) {
    const SEED: u64 = 0x6f70_7465;
    if std::env::var_os("ALL_ORDERS").is_some() {
        let orders = Runner::new(DfsScheduler::new(None, false), config()).run(f);
        println!("{orders} orders");
    } else {
        Runner::new(RandomScheduler::new_from_seed(SEED, 2_000), config()).run(f);
    }
}

/// Runs both at once on the same thing; answers what they answer.
fn race<T: Send + Sync + 'static, A: Send + 'static, B>(
    on: &Arc<T>,
    a: impl FnOnce(&T) -> A + Send + 'static,
    b: impl FnOnce(&T) -> B,
) -> (A, B) {
    let other = on.clone();
    let other = thread::spawn(move || a(&other));
    let b = b(on);
    (other.join().unwrap(), b)
}
