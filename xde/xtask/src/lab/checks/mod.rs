// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The scenario: what is shown and tested in a lab.
//!
//! A check is an entry of a table: a name, what it needs, and a function that does it with real
//! programs and answers a detail for its line. Each leaves the lab as it found it, so that checks
//! may be chosen one by one.

mod addresses;
mod bad_input;
mod captures;
mod clients;
mod firewall;
mod inside;
mod machine;
mod multicast;
mod observe;
mod outside;
mod path;
mod reconfigure;
mod tracing;

use crate::lab::Lab;
use crate::lab::topology::Guest;
use anyhow::{Context, Result, ensure};

/// One check.
pub struct Check {
    /// Heading under which it stands.
    pub group: &'static str,
    /// Its name for `--only` and `needs`.
    pub name: &'static str,
    /// What a reader learns from it.
    pub title: &'static str,
    /// Earlier checks that must have passed.
    pub needs: &'static [&'static str],
    /// Does it.
    pub run: fn(&mut Lab) -> Result<String>,
}

/// All checks in their order.
pub fn all() -> impl DoubleEndedIterator<Item = &'static Check> {
    [
        addresses::CHECKS,
        clients::CHECKS,
        inside::CHECKS,
        multicast::CHECKS,
        firewall::CHECKS,
        outside::CHECKS,
        path::CHECKS,
        machine::CHECKS,
        observe::CHECKS,
        tracing::CHECKS,
        reconfigure::CHECKS,
        captures::CHECKS,
        bad_input::CHECKS,
    ]
    .into_iter()
    .flatten()
}

/// The check that boots a virtual machine.
pub const MACHINE: &str = machine::NAME;

/// Why a check cannot be made here: what it needs can neither be found nor be fetched.
pub fn unavailable(check: &Check) -> Option<String> {
    if check.name == MACHINE { machine::unavailable() } else { None }
}

/// Seconds that a connection may take to open.
const CONNECT_TIMEOUT: &str = "2";

/// Pings three times, all of which must be answered; answers the mean round trip time.
fn ping(lab: &Lab, from: &str, to: &str) -> Result<String> {
    let text = lab.on(from, "ping", &["-n", "-c", "3", "-i", "0.1", "-W", "2", to])?;
    ensure!(text.contains(" 0% packet loss"), "packets were lost:\n{text}");
    let mean = text.lines().find_map(|line| line.strip_prefix("rtt ")?.split('/').nth(4));
    Ok(format!("{} ms", mean.context("ping shows no round trip time")?))
}

/// Fetches a page.
fn curl(lab: &Lab, from: &str, url: &str) -> Result<String> {
    let options = ["-sS", "-g", "--connect-timeout", CONNECT_TIMEOUT, "--max-time", "10", url];
    lab.on(from, "curl", &options).map(|page| page.trim().to_owned())
}

/// A connection that must not open.
fn curl_fails(lab: &Lab, from: &str, url: &str) -> Result<()> {
    let options = ["-sS", "-g", "--connect-timeout", CONNECT_TIMEOUT, "--max-time", "10", url];
    let output = lab.attempt(from, "curl", &options)?;
    ensure!(!output.status.success(), "{from} reached {url}: {}", output.stdout.trim());
    // 7: refused, 28: no answer (curl(1), exit codes). Anything else would be a mistake of ours.
    ensure!(matches!(output.status.code(), Some(7 | 28)), "curl: {}", output.stderr.trim());
    Ok(())
}

/// An address as it stands in a URL.
fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Addresses of both families.
fn both(guest: &Guest) -> [&'static str; 2] {
    [guest.ip4, guest.ip6]
}
