// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Web servers and what their logs say about clients.

use crate::lab::processes::Daemon;
use crate::shell::{Cmd, wait_until};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

/// A running server.
pub struct WebServer {
    daemon: Daemon,
}

/// A request as the server saw it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Visit {
    /// Address of the client.
    pub address: IpAddr,
    /// Port of the client.
    pub port: u16,
    /// What was asked for.
    pub url: String,
}

impl WebServer {
    /// Serves the files of `root`; `exec` calls busybox where the server is to be.
    pub fn start(name: &str, port: u16, exec: Cmd, root: &Path, logs: &Path) -> Result<Self> {
        let port = port.to_string();
        let cmd = exec.args(["httpd", "-f", "-vv", "-p", &port, "-h"]).arg(root);
        Ok(Self { daemon: Daemon::start(name, cmd, logs)? })
    }

    /// The last visit with that URL; waits for it, since servers log after they answer.
    pub fn visit(&self, url: &str) -> Result<Visit> {
        wait_until(&format!("a visit of {url}"), Duration::from_secs(2), || {
            Ok(self.daemon.log().lines().rev().filter_map(parse).find(|visit| visit.url == url))
        })
        .with_context(|| format!("the server's log:\n{}", self.daemon.log()))
    }

    /// Lets the server outlive this value.
    pub fn leave_running(&mut self) {
        self.daemon.leave_running();
    }
}

/// Reads a line such as `[::ffff:10.0.0.1]:49152: url:/index.html`.
fn parse(line: &str) -> Option<Visit> {
    let (client, url) = line.split_once(": url:")?;
    let (address, port) = client.strip_prefix('[')?.split_once("]:")?;
    let address: Ipv6Addr = address.parse().ok()?;
    Some(Visit { address: address.to_canonical(), port: port.parse().ok()?, url: url.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_read_from_the_log() {
        let visit = |line: &str| parse(line).map(|v| (v.address.to_string(), v.port, v.url));
        assert_eq!(
            visit("[::ffff:203.0.113.10]:1024: url:/a?b=c"),
            Some(("203.0.113.10".into(), 1024, "/a?b=c".into()))
        );
        assert_eq!(
            visit("[2001:db8::1]:5119: url:/"),
            Some(("2001:db8::1".into(), 5119, "/".into()))
        );
        assert_eq!(visit("[::1]:5119: response:200"), None);
        assert_eq!(visit("httpd: bind: Address already in use"), None);
    }
}
