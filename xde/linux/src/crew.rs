// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The workers of a host, and the line to each of them.

use crate::poller::Waker;
use crate::port::PortQueue;
use crate::underlay::Underlay;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use xde::host::PortId;

/// Longest wait of a [`Remote`] for an order to be carried out: between two bursts.
const ORDER_PATIENCE: Duration = Duration::from_secs(2);

/// What a worker can be told.
pub enum Command {
    /// Take frames of this port, from this queue of it.
    AddPort(PortId, Box<dyn PortQueue>),
    /// Forget this port; its device is closed before the order is done.
    RemovePort(PortId),
    /// Send and receive over this underlay.
    SetUnderlay(Box<dyn Underlay>),
    /// Have no underlay; it is closed before the order is done.
    ClearUnderlay,
}

/// A command, and where its outcome is told.
pub struct Order {
    /// What to do.
    pub command: Command,
    /// Hears of the outcome.
    pub done: Sender<io::Result<()>>,
}

/// The worker's end of a [`Remote`].
#[derive(Debug)]
pub struct Orders {
    orders: Receiver<Order>,
    waker: Waker,
}

impl Orders {
    /// The next order that waits.
    pub fn next(&self) -> Option<Order> {
        let next = self.orders.try_recv().ok();
        if next.is_none() {
            // Whoever gives an order now wakes us again.
            self.waker.clear();
        }
        next.or_else(|| self.orders.try_recv().ok())
    }
}

impl AsFd for Orders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

/// Tells a worker on another thread what to do.
#[derive(Clone, Debug)]
pub struct Remote {
    orders: Sender<Order>,
    waker: Waker,
}

/// Both ends of the line to a worker.
pub fn remote() -> io::Result<(Orders, Remote)> {
    let waker = Waker::new()?;
    let (sender, orders) = mpsc::channel();
    Ok((Orders { orders, waker: waker.clone() }, Remote { orders: sender, waker }))
}

impl Remote {
    /// Has the worker carry out `command`.
    pub fn order(&self, command: Command) -> io::Result<()> {
        let stopped = || io::Error::other("the packet thread has stopped");
        let (done, outcome) = mpsc::channel();
        self.orders.send(Order { command, done }).map_err(|_| stopped())?;
        self.waker.wake()?;
        // An order that takes longer is carried out all the same.
        outcome.recv_timeout(ORDER_PATIENCE).map_err(|_| stopped())?
    }
}

/// The lines to all workers of a host.
#[derive(Clone, Debug)]
pub struct Crew(Vec<Remote>);

impl Crew {
    /// The crew of these workers, one or more.
    pub fn new(workers: Vec<Remote>) -> Self {
        Self(workers)
    }

    /// Number of workers.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Gives each worker one of a port's queues. None has any if one cannot take its.
    pub fn add_port<Q: PortQueue + 'static>(&self, port: PortId, queues: Vec<Q>) -> io::Result<()> {
        let commands = queues.into_iter().map(|queue| Command::AddPort(port, Box::new(queue)));
        self.each(commands, || Command::RemovePort(port))
    }

    /// Has all workers forget a port; its device is closed then.
    pub fn remove_port(&self, port: PortId) -> io::Result<()> {
        self.all(|| Command::RemovePort(port))
    }

    /// Gives each worker its sockets of an underlay. None has any if one cannot take its.
    pub fn set_underlay<U: Underlay + 'static>(&self, underlays: Vec<U>) -> io::Result<()> {
        let commands = underlays.into_iter().map(|u| Command::SetUnderlay(Box::new(u)));
        self.each(commands, || Command::ClearUnderlay)
    }

    /// Has all workers close their underlay.
    pub fn clear_underlay(&self) -> io::Result<()> {
        self.all(|| Command::ClearUnderlay)
    }

    fn each(
        &self,
        commands: impl Iterator<Item = Command>,
        undo: impl Fn() -> Command,
    ) -> io::Result<()> {
        for (done, (worker, command)) in self.0.iter().zip(commands).enumerate() {
            if let Err(error) = worker.order(command) {
                for worker in self.0.iter().take(done) {
                    let _ = worker.order(undo());
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// All are told, also if one fails.
    fn all(&self, command: impl Fn() -> Command) -> io::Result<()> {
        let outcomes: Vec<_> = self.0.iter().map(|worker| worker.order(command())).collect();
        outcomes.into_iter().collect()
    }
}
