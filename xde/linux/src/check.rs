// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What must be true of the machine before the process can be of use, said in one sentence each.

use crate::coalesce::Joining;
use crate::sys::tun;
use anyhow::{Context, bail};
use std::io;

/// Bit of `CAP_NET_ADMIN` (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;

/// Checks that TAP devices can be made.
pub fn tap_devices() -> anyhow::Result<()> {
    let fd = tun::open().map_err(|error| anyhow::anyhow!(explain_open(&error)))?;
    let header = tun::has_vnet_header(&fd).context("cannot ask what TAP devices can do")?;
    if !header {
        bail!("the kernel's TAP devices have no virtio-net header: it is too old");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if has_capability(&status, CAP_NET_ADMIN) == Some(false) {
        bail!("no right to make network devices: run as root, or with CAP_NET_ADMIN");
    }
    Ok(())
}

/// What may be joined on the way to guests: their devices take UDP super-frames since Linux 6.2.
pub fn joining() -> Joining {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if takes_udp(&release) { Joining::TcpAndUdp } else { Joining::Tcp }
}

fn takes_udp(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 2)
}

fn explain_open(error: &io::Error) -> String {
    let device = tun::CLONE_DEVICE;
    match error.raw_os_error() {
        Some(libc::ENOENT) => format!(
            "{device} does not exist: load the kernel module 'tun' (modprobe tun), or, in a \
             container, pass the device in"
        ),
        Some(libc::ENODEV) => format!("{device} has no driver: load the kernel module 'tun'"),
        Some(libc::EACCES | libc::EPERM) => {
            format!("no right to open {device}: run as root, or make it accessible to this user")
        }
        _ => format!("cannot open {device}: {error}"),
    }
}

/// Whether a process has a capability in effect, by its status in /proc; `None` if that is not
/// said there.
fn has_capability(status: &str, bit: u32) -> Option<bool> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let set = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(set >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_status() {
        let status = "Name:\txde\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n";
        assert_eq!(has_capability(status, CAP_NET_ADMIN), Some(true));
        assert_eq!(has_capability(status, 13), Some(false));
        assert_eq!(has_capability("Name:\txde\n", 12), None);
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        for (release, takes) in [
            ("6.2.0-1-amd64", true),
            ("6.18.4", true),
            ("10.0", true),
            ("6.1.0-40-amd64", false),
            ("5.15.0", false),
            ("strange", false),
        ] {
            assert_eq!(takes_udp(release), takes, "{release}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        for (errno, words) in [(libc::ENOENT, "modprobe tun"), (libc::EACCES, "run as root")] {
            let text = explain_open(&io::Error::from_raw_os_error(errno));
            assert!(text.contains(words), "{text}");
        }
    }
}
