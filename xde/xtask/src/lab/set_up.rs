// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How the lab comes up, step by step. Each step is a line of the report.

use crate::lab::Lab;
use crate::lab::pcap::Capture;
use crate::lab::processes::Daemon;
use crate::lab::topology::{
    BOUNDARY, BOUNDARY_VNI, GUESTS, HYPERVISORS, OUTSIDE_LINK, WEBS, namespaces, taps,
    underlay_hosts,
};
use crate::lab::web::WebServer;
use crate::shell::wait_until;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

/// A step: what it does, and the code that does it and answers a detail.
pub type Step = (&'static str, fn(&mut Lab) -> Result<String>);

/// All steps, in order; each needs the ones before it.
pub const STEPS: &[Step] = &[
    ("network namespaces and links", Lab::make_network),
    ("xde processes", Lab::start_hosts),
    ("underlay and mappings", Lab::configure_hosts),
    ("ports with their routes and rules", Lab::make_ports),
    ("guests", Lab::boot_guests),
    ("web servers", Lab::start_webs),
];

/// The step that only those need who look at packets.
pub const CAPTURES: Step = ("captures", Lab::start_captures);

impl Lab {
    fn make_network(&mut self) -> Result<String> {
        self.net.create()?;
        Ok(format!("{} namespaces, named {}-*", namespaces().count(), self.sandbox.run()))
    }

    fn start_hosts(&mut self) -> Result<String> {
        let outside = ["--outside", OUTSIDE_LINK, "--underlay-ip", BOUNDARY.underlay];
        let boundary = [&["boundary"][..], &outside, &["--vni", BOUNDARY_VNI]].concat();
        for host in underlay_hosts() {
            let role: &[&str] = if host.name == BOUNDARY.name { &boundary } else { &[] };
            let daemon = self.start_host(host.name, host.name, role)?;
            self.hosts.insert(host.name, daemon);
        }
        let names: Vec<&str> = underlay_hosts().map(|host| host.name).collect();
        Ok(format!("{}; control sockets in {}", names.join(", "), self.sandbox.scratch().display()))
    }

    /// Starts `xde` in a namespace, with a socket of its own, and waits until it listens.
    pub fn start_host(&self, name: &str, netns: &str, args: &[&str]) -> Result<Daemon> {
        let socket = self.socket(name);
        let cmd = self.net.exec(netns, &self.binaries.xde.to_string_lossy());
        let cmd = cmd.args(args).arg("--socket").arg(&socket);
        let mut daemon = Daemon::start(name, cmd, self.logs())?;
        daemon.wait_ready("answers", |_| {
            Ok(socket.exists() && self.opteadm(name, &["stats"]).output()?.status.success())
        })?;
        Ok(daemon)
    }

    fn configure_hosts(&mut self) -> Result<String> {
        for host in &HYPERVISORS {
            self.configure_host(host.name)?;
        }
        Ok(format!("{} guests, one boundary", GUESTS.len()))
    }

    fn make_ports(&mut self) -> Result<String> {
        for guest in &GUESTS {
            self.create_port(guest)?;
            self.configure_port(guest)?;
            self.configure_external(guest)?;
        }
        let names: Vec<&str> = GUESTS.iter().map(|guest| guest.name).collect();
        Ok(names.join(", "))
    }

    fn boot_guests(&mut self) -> Result<String> {
        GUESTS.iter().try_for_each(|guest| self.boot(guest))?;
        GUESTS.iter().try_for_each(|guest| self.wait_link_local(guest))?;
        Ok("devices moved in, link-local addresses checked for duplicates".into())
    }

    fn start_webs(&mut self) -> Result<String> {
        for web in &WEBS {
            self.start_web(web.name, web.name, 80)?;
        }
        for guest in &GUESTS {
            self.start_web(guest.name, guest.name, 80)?;
        }
        Ok("outside and on each guest, port 80".into())
    }

    /// Starts a web server on a machine; its page is the server's name.
    pub fn start_web(&mut self, name: &str, machine: &str, port: u16) -> Result<()> {
        let root = self.web_root(name);
        fs::create_dir_all(&root)?;
        fs::write(root.join("index.html"), format!("{name}\n"))?;
        let exec = self.net.exec(machine, "busybox");
        let server = WebServer::start(&format!("httpd-{name}"), port, exec, &root, self.logs())?;
        self.webs.insert(name.into(), server);
        let url = format!("http://127.0.0.1:{port}/");
        wait_until(&format!("web server {name}"), Duration::from_secs(5), || {
            let page = self.attempt(machine, "curl", &["-sS", &url])?;
            Ok((page.stdout.trim() == name).then_some(()))
        })
    }

    /// Puts a page on a web server, so that a visit can be told from others by its URL, which is
    /// answered; the page says the server's name.
    pub fn add_page(&self, server: &str, name: &str) -> Result<String> {
        fs::write(self.web_root(server).join(name), format!("{server}\n"))?;
        Ok(format!("/{name}"))
    }

    /// Makes a file of that size on a web server, to be downloaded; answers its path in URLs.
    pub fn add_file(&self, server: &str, name: &str, size: u64) -> Result<String> {
        File::create(self.web_root(server).join(name))?.set_len(size)?;
        Ok(format!("/{name}"))
    }

    /// The folder whose files a web server serves.
    pub fn web_root(&self, name: &str) -> PathBuf {
        self.scratch(&format!("www-{name}"))
    }

    fn start_captures(&mut self) -> Result<String> {
        let taps = taps();
        for tap in &taps {
            let exec = self.net.exec(tap.netns, "tcpdump");
            let capture = Capture::start(&tap.name, tap.link, exec, &self.pcaps, self.logs())
                .with_context(|| format!("capture of {}", tap.name))?;
            self.captures.insert(tap.name.clone(), capture);
        }
        Ok(format!("{} links, files in {}", taps.len(), self.pcaps.display()))
    }
}
