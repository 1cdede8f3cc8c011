// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One sending socket: what waits for it leaves in as few calls as possible.

use super::run::Run;
use crate::counters::{Counter, Counters};
use crate::outbox::{Datagram, Outbox};
use crate::sys::udp::{self, Message};
use opte::outer::GENEVE_PORT;
use std::io::{self, IoSlice};
use std::net::SocketAddrV6;
use std::os::fd::OwnedFd;

/// A sending socket.
#[derive(Debug)]
pub struct Lane {
    socket: OwnedFd,
    /// Runs leave in one piece; false once the kernel or a link turned out not to do so.
    sends_runs: bool,
    /// Something was too large for its path.
    met_smaller_path: bool,
}

/// Messages for the kernel, with the runs that they are and the memory that they consist of.
#[derive(Default)]
struct Mail<'a> {
    messages: Vec<Message>,
    runs: Vec<Run>,
    slices: Vec<IoSlice<'a>>,
}

impl Lane {
    /// The lane of a socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, sends_runs: true, met_smaller_path: false }
    }

    /// Whether something was too large for its path.
    pub fn met_smaller_path(&self) -> bool {
        self.met_smaller_path
    }

    /// The port that it sends from.
    pub fn source_port(&self) -> io::Result<u16> {
        let addr = SocketAddrV6::try_from(rustix::net::getsockname(&self.socket)?)?;
        Ok(addr.port())
    }

    /// Sends datagrams of `outbox`, in order. What the kernel does not take is counted.
    pub fn send(&mut self, datagrams: &[&Datagram], outbox: &Outbox, counters: &Counters) {
        let Mail { messages, runs, slices } = gather(datagrams, outbox, self.sends_runs);
        let mut rest = datagrams;
        let mut done = 0;
        while let (Some(waiting @ [_, ..]), Some([run, ..])) =
            (messages.get(done..), runs.get(done..))
        {
            match udp::send(&self.socket, waiting, &slices) {
                Ok(sent) => {
                    for run in runs.iter().skip(done).take(sent) {
                        count_sent(run, counters);
                        rest = rest.get(run.count..).unwrap_or_default();
                    }
                    // At least one, or else it would be an error.
                    done += sent.max(1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let (members, others) = rest.split_at(run.count.min(rest.len()));
                    let reason = reason(&error);
                    self.met_smaller_path |= reason == Counter::UnderlayTooLarge;
                    if members.len() > 1 && reason != Counter::UnderlayFull {
                        self.send_singly(members, reason, outbox, counters);
                    } else {
                        counters.add(reason, run.count);
                    }
                    rest = others;
                    done += 1;
                }
            }
        }
    }

    /// Sends the members of a run that was refused. They are alike, and go or fail alike, but for
    /// the last, which may be shorter and fit where the others do not; and but for a kernel or a
    /// link that takes them all, only not in one piece.
    fn send_singly(
        &mut self,
        members: &[&Datagram],
        refusal: Counter,
        outbox: &Outbox,
        counters: &Counters,
    ) {
        let size = members.first().map_or(0, |first| first.len);
        let mut verdict = None;
        for datagram in members {
            if let Some(Err(reason)) = verdict
                && datagram.len == size
            {
                counters.count(reason);
                continue;
            }
            let Mail { messages, slices, .. } = gather(&[*datagram], outbox, false);
            let sent = udp::send(&self.socket, &messages, &slices);
            let outcome = sent.map(|_| ()).map_err(|error| reason(&error));
            match outcome {
                Ok(()) => count_sent(&Run::of(datagram), counters),
                Err(reason) => counters.count(reason),
            }
            verdict.get_or_insert(outcome);
        }
        if verdict == Some(Ok(())) && refusal != Counter::UnderlayTooLarge {
            tracing::warn!("the underlay does not take runs of datagrams in one piece");
            self.sends_runs = false;
        }
    }
}

/// Makes messages of datagrams: of neighbours that belong together one, if that is wanted.
fn gather<'a>(datagrams: &[&Datagram], outbox: &'a Outbox, in_runs: bool) -> Mail<'a> {
    let mut mail = Mail { slices: Vec::with_capacity(2 * datagrams.len()), ..Mail::default() };
    let mut datagrams = datagrams.iter().peekable();
    while let Some(first) = datagrams.next() {
        let mut run = Run::of(first);
        let start = mail.slices.len();
        mail.slices.extend(outbox.slices(first));
        while let Some(next) = datagrams.next_if(|next| in_runs && run.take(first, next)) {
            mail.slices.extend(outbox.slices(next));
        }
        mail.messages.push(Message {
            slices: start..mail.slices.len(),
            // A run has at least two, which fit in one packet together.
            run_of: (run.count > 1).then_some(run.size as u16),
            src: first.src,
            dst: first.dst,
            port: GENEVE_PORT,
            traffic_class: first.traffic_class,
        });
        mail.runs.push(run);
    }
    mail
}

fn count_sent(run: &Run, counters: &Counters) {
    counters.count(Counter::UnderlayTxRuns);
    counters.add(Counter::UnderlayTxDatagrams, run.count);
    counters.add(Counter::UnderlayTxBytes, run.bytes);
}

/// Why the kernel did not send.
fn reason(error: &io::Error) -> Counter {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => Counter::UnderlayTooLarge,
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Counter::UnderlayFull,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN) => {
            Counter::UnderlayUnreachable
        }
        Some(libc::EINVAL | libc::EADDRNOTAVAIL) => Counter::UnderlayBadSource,
        _ => Counter::UnderlaySendError,
    }
}
