// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a process owes to those who run it: a log, and word that it is ready.

use anyhow::Context;
use std::io::IsTerminal;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use tracing_subscriber::EnvFilter;

/// Begins to log to standard error what passes `filter`.
pub fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("log filter '{filter}' is none: say a level, as in 'info', or 'info,xde=debug'")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    log.try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Tells the service manager that started us, if one did, that we are ready (sd_notify(3)).
pub fn tell_ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let addr = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let told = addr.and_then(|addr| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &addr));
    if let Err(error) = told {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}
