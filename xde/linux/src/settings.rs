// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Settings of a hypervisor host: flags go before the environment, that before the file, and
//! that before the defaults.

use crate::port::{GuestOffloads, PortKind};
use crate::worker::Pace;
use anyhow::Context;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where requests are taken, unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/xde.sock";
/// What is logged, unless told otherwise.
pub const DEFAULT_LOG: &str = "info";

const MAX_BATCH: u16 = 1024;
const MAX_WORKERS: u16 = 64;
/// Workers beyond this many only by a setting: each costs sockets and memory.
const MAX_DEFAULT_WORKERS: usize = 4;
/// Longest time to stay awake, in microseconds.
pub const MAX_SPIN_MICROS: u32 = 10_000;

/// Options of `xde`, as flags and environment variables give them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Unix socket for requests, as of opteadm; only this user can connect [default: /run/xde.sock]
    #[arg(long, env = "XDE_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// TOML file with settings: socket, log, underlay, ports, workers, batch,
    /// spin_us, offloads
    #[arg(long, env = "XDE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to log to standard error: a level (error, warn, info, debug, trace), or levels by part,
    /// as in 'info,xde::event=trace' [default: info]
    #[arg(long, env = "XDE_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Link of the underlay to use from the start; several with commas. Otherwise, and later,
    /// 'opteadm set-xde-underlay' names them
    #[arg(long, env = "XDE_UNDERLAY", value_name = "LINK", value_delimiter = ',')]
    pub underlay: Option<Vec<String>>,

    /// What a port is [default: tap]
    #[arg(long, env = "XDE_PORTS", value_name = "KIND")]
    pub ports: Option<PortKind>,

    /// Threads that move packets, 1 to 64; each flow stays on one [default: half of the
    /// processors, 4 at most]
    #[arg(long, env = "XDE_WORKERS", value_name = "THREADS",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_WORKERS)))]
    pub workers: Option<u16>,

    /// Frames of a port that are processed together, 1 to 1024 [default: 64]
    #[arg(long, env = "XDE_BATCH", value_name = "FRAMES",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_BATCH)))]
    pub batch: Option<u16>,

    /// Microseconds to look for more frames before going to sleep, at most, 0 to 10000. They are
    /// spent only while frames come sooner than that: lower latency for more processor time while
    /// packets flow [default: 100]
    #[arg(long, env = "XDE_SPIN_US", value_name = "MICROSECONDS",
        value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_SPIN_MICROS)))]
    pub spin_us: Option<u32>,

    /// Whether guests may leave checksums and segmentation to this host [default: true]
    #[arg(long, env = "XDE_OFFLOADS", value_name = "BOOL")]
    pub offloads: Option<bool>,
}

/// The same in a file.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
struct File {
    socket: Option<PathBuf>,
    log: Option<String>,
    underlay: Option<Vec<String>>,
    ports: Option<PortKind>,
    workers: Option<u16>,
    batch: Option<u16>,
    spin_us: Option<u32>,
    offloads: Option<bool>,
}

/// What is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Unix socket for requests.
    pub socket: PathBuf,
    /// Filter of the log.
    pub log: String,
    /// Links of the underlay to use from the start.
    pub underlay: Vec<String>,
    /// What ports are.
    pub ports: PortKind,
    /// Threads that move packets.
    pub workers: usize,
    /// How these go about their work.
    pub pace: Pace,
    /// Work that guests may leave to this host.
    pub offloads: GuestOffloads,
}

impl Options {
    /// Adds what the file and the defaults say.
    pub fn settle(self) -> anyhow::Result<Settings> {
        let file = match &self.config {
            Some(path) => read(path).with_context(|| format!("settings in {}", path.display()))?,
            None => File::default(),
        };
        let pace = Pace::default();
        let spin = self.spin_us.or(file.spin_us).map(|us| Duration::from_micros(us.into()));
        let offloads = self.offloads.or(file.offloads).unwrap_or(true);
        Ok(Settings {
            socket: self.socket.or(file.socket).unwrap_or_else(|| DEFAULT_SOCKET.into()),
            log: self.log.or(file.log).unwrap_or_else(|| DEFAULT_LOG.into()),
            underlay: self.underlay.or(file.underlay).unwrap_or_default(),
            ports: self.ports.or(file.ports).unwrap_or_default(),
            workers: self.workers.or(file.workers).map_or_else(default_workers, usize::from),
            pace: Pace {
                burst: self.batch.or(file.batch).map_or(pace.burst, usize::from),
                spin: spin.unwrap_or(pace.spin),
            },
            offloads: if offloads { GuestOffloads::All } else { GuestOffloads::None },
        })
    }
}

fn default_workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, MAX_DEFAULT_WORKERS)
}

fn read(path: &Path) -> anyhow::Result<File> {
    parse(&std::fs::read_to_string(path)?)
}

fn parse(text: &str) -> anyhow::Result<File> {
    let file: File = toml::from_str(text)?;
    anyhow::ensure!(
        file.batch.is_none_or(|batch| (1..=MAX_BATCH).contains(&batch)),
        "batch must be 1 to {MAX_BATCH}"
    );
    anyhow::ensure!(
        file.workers.is_none_or(|workers| (1..=MAX_WORKERS).contains(&workers)),
        "workers must be 1 to {MAX_WORKERS}"
    );
    anyhow::ensure!(
        file.spin_us.is_none_or(|spin| spin <= MAX_SPIN_MICROS),
        "spin_us must be at most {MAX_SPIN_MICROS}"
    );
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let settings = Options::default().settle().unwrap();
        assert_eq!(settings.socket, Path::new("/run/xde.sock"));
        assert_eq!(settings.log, "info");
        assert_eq!(settings.pace, Pace { burst: 64, spin: Duration::from_micros(100) });
        assert_eq!(settings.ports, PortKind::Tap);
        assert!((1..=4).contains(&settings.workers));
        assert_eq!(settings.offloads, GuestOffloads::All);
        assert_eq!(settings.underlay, [""; 0]);
    }

    #[test]
    fn flags_go_before_the_file() {
        let path = std::env::temp_dir().join(format!("xde-settings-{}.toml", std::process::id()));
        std::fs::write(
            &path,
            "socket = '/a'\nbatch = 8\nunderlay = ['u0', 'u1']\nports = 'link'\nworkers = 3\n",
        )
        .unwrap();
        let args = ["xde", "--batch", "16", "--config", path.to_str().unwrap()];
        let settings = Cli::parse_from(args).options.settle().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(settings.socket, Path::new("/a"));
        assert_eq!(settings.pace.burst, 16);
        assert_eq!(settings.underlay, ["u0", "u1"]);
        assert_eq!((settings.ports, settings.workers), (PortKind::Link, 3));
    }

    #[test]
    fn bad_settings_are_refused() {
        for (text, word) in [
            ("sockets = '/a'", "unknown field `sockets`"),
            ("batch = 0", "batch"),
            ("batch = 'many'", "batch"),
            ("workers = 0", "workers"),
            ("ports = 'tun'", "ports"),
            ("spin_us = 10001", "spin_us"),
            ("underlay = 'u0'", "underlay"),
            ("socket", "socket"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for bad in [["--batch", "0"], ["--batch", "2000"], ["--spin-us", "-1"], ["--offloads", "x"]]
        {
            assert!(Cli::try_parse_from(["xde"].iter().chain(&bad)).is_err(), "{bad:?}");
        }
    }
}
