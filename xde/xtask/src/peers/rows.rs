// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is measured: each row is one run of a load, and gives one or more figures.

use crate::load::connect::Connections;
use crate::load::ping::Times;
use crate::load::udp::Burst;
use crate::peers::path::Path;
use anyhow::{Result, ensure};
use std::fmt;

/// A row, by the name that `--row` takes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Row {
    /// TCP, one stream.
    Tcp1,
    /// TCP, eight streams.
    Tcp8,
    /// The highest rate of small packets without loss.
    UdpClean,
    /// As many small packets as the sender can make.
    UdpFlat,
    /// One request at a time over UDP or TCP, on one CPU or free.
    Ping { tcp: bool, pinned: bool },
    /// Short connections.
    Connect,
    /// What a packet costs at a fixed rate.
    Cpu,
}

/// A figure of a row.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Figure {
    /// Its row.
    pub row: Row,
    /// Which of the row's figures.
    pub part: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better; none for a figure that only explains others.
    pub better: Option<Better>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Better {
    /// A higher figure.
    High,
    /// A lower one.
    Low,
}

/// Length of the loads.
#[derive(Clone, Copy)]
pub struct Lengths {
    /// Of one TCP measurement, in seconds.
    pub tcp: u8,
    /// Of any other, in milliseconds.
    pub other: u64,
    /// Of one attempt in a search, in milliseconds.
    pub attempt: u64,
}

/// Packets per second of the row [`Row::Cpu`].
const CPU_RATE: f64 = 100_000.0;
/// At that rate, a path that loses more than this share has no cost of a packet.
const MOST_LOSS: f64 = 0.5;

impl Row {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::Tcp1,
        Self::Tcp8,
        Self::UdpClean,
        Self::UdpFlat,
        Self::Ping { tcp: false, pinned: true },
        Self::Ping { tcp: true, pinned: true },
        Self::Ping { tcp: false, pinned: false },
        Self::Ping { tcp: true, pinned: false },
        Self::Connect,
        Self::Cpu,
    ];

    /// What `--row` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp-1",
            Self::Tcp8 => "tcp-8",
            Self::UdpClean => "udp-clean",
            Self::UdpFlat => "udp-flat",
            Self::Ping { tcp: false, pinned: true } => "ping-udp-pinned",
            Self::Ping { tcp: true, pinned: true } => "ping-tcp-pinned",
            Self::Ping { tcp: false, pinned: false } => "ping-udp",
            Self::Ping { tcp: true, pinned: false } => "ping-tcp",
            Self::Connect => "connect",
            Self::Cpu => "cpu",
        }
    }

    /// Its figures, in the order in which [`Row::measure`] gives them.
    pub fn figures(self) -> Vec<Figure> {
        use Better::{High, Low};
        let figure = |part, unit, better| Figure { row: self, part, unit, better };
        match self {
            Self::Tcp1 | Self::Tcp8 => {
                vec![figure("", "Gbit/s", Some(High)), figure("data path", "cores", None)]
            }
            Self::UdpClean => vec![figure("", "kpps", Some(High))],
            Self::UdpFlat => {
                vec![figure("delivered", "kpps", Some(High)), figure("lost", "%", None)]
            }
            Self::Ping { .. } => {
                vec![figure("p50", "µs", Some(Low)), figure("p99", "µs", Some(Low))]
            }
            Self::Connect => vec![figure("", "1/s", Some(High)), figure("failed", "%", None)],
            Self::Cpu => vec![
                figure("all-in", "µs/packet", Some(Low)),
                figure("data path", "µs/packet", Some(Low)),
                figure("lost", "%", None),
            ],
        }
    }

    /// Measures a path once.
    pub fn measure(self, path: &Path, lengths: &Lengths) -> Result<Vec<f64>> {
        Ok(match self {
            Self::Tcp1 => stream(path, 1, lengths)?,
            Self::Tcp8 => stream(path, 8, lengths)?,
            Self::UdpClean => {
                let burst: Burst = path.load("udp-clean", lengths.attempt, &[])?;
                vec![burst.offered() / 1e3]
            }
            Self::UdpFlat => {
                let burst: Burst = path.load("udp", lengths.other, &[])?;
                vec![burst.delivered() / 1e3, burst.loss() * 100.0]
            }
            Self::Ping { tcp, pinned } => {
                let options = [(tcp, "--tcp"), (pinned, "--pinned")];
                let options: Vec<&str> =
                    options.iter().filter(|(on, _)| *on).map(|(_, option)| *option).collect();
                let times: Times = path.load("ping", lengths.other, &options)?;
                vec![times.p50, times.p99]
            }
            Self::Connect => {
                let all: Connections = path.load("connect", lengths.other, &[])?;
                let failed = all.failed as f64 / (all.done + all.failed) as f64;
                vec![all.done as f64 / all.seconds, failed * 100.0]
            }
            Self::Cpu => cost(path, lengths)?,
        })
    }
}

fn stream(path: &Path, streams: u8, lengths: &Lengths) -> Result<Vec<f64>> {
    let before = path.spent().datapath;
    let rate = path.iperf(streams, lengths.tcp)?;
    let spent = path.spent().datapath.saturating_sub(before);
    Ok(vec![rate, spent as f64 / 1e9 / f64::from(lengths.tcp)])
}

fn cost(path: &Path, lengths: &Lengths) -> Result<Vec<f64>> {
    let before = path.spent();
    let burst: Burst = path.load("udp", lengths.other, &["--rate", &CPU_RATE.to_string()])?;
    let after = path.spent();
    ensure!(burst.loss() < MOST_LOSS, "{:.0} % lost", burst.loss() * 100.0);
    let datapath = after.datapath.saturating_sub(before.datapath);
    let others = after.others.saturating_sub(before.others);
    let each = |ns: u64| ns as f64 / burst.received as f64 / 1e3;
    Ok(vec![each(datapath + others + burst.cpu_ns), each(datapath), burst.loss() * 100.0])
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.row {
            Row::Tcp1 => "TCP, 1 stream",
            Row::Tcp8 => "TCP, 8 streams",
            Row::UdpClean => "UDP 64 B without loss",
            Row::UdpFlat => "UDP 64 B flat out",
            Row::Ping { tcp: false, pinned: true } => "UDP round trip, one CPU",
            Row::Ping { tcp: true, pinned: true } => "TCP round trip, one CPU",
            Row::Ping { tcp: false, pinned: false } => "UDP round trip",
            Row::Ping { tcp: true, pinned: false } => "TCP round trip",
            Row::Connect => "TCP connections, 4 threads",
            Row::Cpu => "CPU at 100 kpps",
        };
        let part = if self.part.is_empty() { String::new() } else { format!(", {}", self.part) };
        write!(f, "{what}{part}, {}", self.unit)
    }
}
