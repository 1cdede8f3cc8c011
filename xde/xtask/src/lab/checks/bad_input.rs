// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Nonsense from guests, from the underlay, from programs and from people.

use super::{Check, ping};
use crate::inject;
use crate::lab::Lab;
use crate::lab::topology::{GATEWAY4, GUESTS, HYPERVISORS, guest, underlay_hosts};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const GROUP: &str = "Bad input";

pub const CHECKS: &[Check] = &[
    Check {
        group: GROUP,
        name: "bad-frames",
        title: "random and truncated frames from a guest",
        needs: &["dhcp4"],
        run: bad_frames,
    },
    Check {
        group: GROUP,
        name: "bad-underlay",
        title: "random and truncated Geneve from the underlay",
        needs: &["dhcp4"],
        run: bad_underlay,
    },
    Check {
        group: GROUP,
        name: "bad-control",
        title: "random control requests",
        needs: &[],
        run: bad_control,
    },
    Check {
        group: GROUP,
        name: "bad-arguments",
        title: "ill-formed arguments of opteadm",
        needs: &[],
        run: bad_arguments,
    },
];

/// Frames of each kind of nonsense.
const FRAMES: u32 = 5000;

/// All processes live, ports are there, and the first guest still reaches its gateway.
fn still_well(lab: &mut Lab) -> Result<()> {
    lab.hosts.values_mut().try_for_each(|daemon| daemon.check_running())?;
    for host in &HYPERVISORS {
        let ports = lab.ask(host.name, &["list-ports"])?;
        let expected = GUESTS.iter().filter(|guest| guest.host.name == host.name).count();
        ensure!(ports.as_array().map(Vec::len) == Some(expected), "ports: {ports}");
    }
    Ok(())
}

fn bad_frames(lab: &mut Lab) -> Result<String> {
    let from = guest("g1");
    let dropped = lab.counting(from, "out_drop_ethertype", || {
        inject::inside(&lab.net.netns(from.name), "frames", from.name, FRAMES)
    })?;
    still_well(lab)?;
    ping(lab, from.name, GATEWAY4)?;
    Ok(format!("{FRAMES} frames, {dropped} dropped for their EtherType; all goes on"))
}

fn bad_underlay(lab: &mut Lab) -> Result<String> {
    let target = &HYPERVISORS[0];
    let from = underlay_hosts().last().context("no hosts")?;
    inject::inside(&lab.net.netns(from.name), "geneve", target.underlay, FRAMES)?;
    still_well(lab)?;
    ping(lab, "g1", GATEWAY4)?;
    Ok(format!("{FRAMES} packets to {}; all goes on", target.underlay))
}

fn bad_control(lab: &mut Lab) -> Result<String> {
    let host = HYPERVISORS[0].name;
    let mut noise = inject::Noise::new(1);
    let mut answered = 0;
    for round in 0..200_u32 {
        let mut request = noise.bytes(4096);
        if round % 2 == 0 {
            // A good header (magic, version 1, any command, the right length) before the noise.
            let code = noise.below(70);
            let body = u32::try_from(request.len())?;
            let header = [&b"OPTE\x00\x01"[..], &code.to_be_bytes(), &body.to_be_bytes()].concat();
            request.splice(..0, header);
        }
        answered += u32::from(exchange(lab, host, &request)?);
    }
    let too_long = [&b"OPTE\x00\x01\x00\x01"[..], &u32::MAX.to_be_bytes()].concat();
    ensure!(exchange(lab, host, &too_long)?, "a request over the limit is not answered");
    still_well(lab)?;
    ensure!(answered >= 100, "only {answered} of 100 whole requests were answered");
    Ok(format!("200 requests, {answered} refused with an answer; all goes on"))
}

/// Sends a request; answers whether a refusal came back. A host may also hang up on what is no
/// request at all. A command that is done is an error: noise must not change anything.
fn exchange(lab: &Lab, host: &str, request: &[u8]) -> Result<bool> {
    let mut stream = UnixStream::connect(lab.socket(host)).context("control socket")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    // A host that has seen enough may close while we still write.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            anyhow::bail!("no answer and no end to {} bytes", request.len())
        }
        _ if answer.is_empty() => Ok(false),
        _ => {
            ensure!(answer.starts_with(b"OPTE"), "answer without a header: {answer:?}");
            Ok(answer.get(6..8) == Some(&[0, 1]))
        }
    }
}

fn bad_arguments(lab: &mut Lab) -> Result<String> {
    let bad: &[&[&str]] = &[
        &["list-layers", "-p", "no-such-port"],
        &["create-xde", "9bad"],
        &["set-v2p", "10.0.0.1", "not-a-mac", "fd00::1", "1"],
        &["set-v2p", "10.0.0.1", "a8:40:25:f0:00:09", "fd00::1", "99999999"],
        &["add-fw-rule", "-p", "g1", "dir=in action=maybe priority=1"],
        &["add-router-entry", "-p", "g1", "10.0.0.0/33", "ig", "system"],
        &["add-router-entry", "-p", "g1", "0.0.0.0/0", "ip=fd00::1", "system"],
        &["delete-xde", "no-such-port"],
        &["no-such-command"],
    ];
    let host = HYPERVISORS[0].name;
    for args in bad {
        let output = lab.opteadm(host, args).output()?;
        ensure!(!output.status.success(), "{args:?} succeeded: {}", output.stdout);
        let code = output.status.code().context("opteadm died of a signal")?;
        ensure!(code < 100, "{args:?} panicked: {}", output.stderr);
        ensure!(!output.stderr.trim().is_empty(), "{args:?} fails without a word");
    }
    still_well(lab)?;
    Ok(format!("{} calls, each refused with a sentence", bad.len()))
}
