// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From `_init` to `_fini`.

use super::{KERNELS, Setting};
use crate::host::{Host, UNDERLAY};
use anyhow::{Result, ensure};
use illumos_sys_hdrs::sys::errno::{EFAULT, EINVAL, ENOTTY, ENXIO, EPROTO};
use illumos_sys_hdrs::sys::file::FEXCL;
use opte_api::frame::encode_request;
use opte_api::ioctl::COMMAND;
use oxide_vpc_api::request::{ClearUnderlay, ListPorts, SetUnderlay};
use xde_illumos_shim::ddi::{self, Who};
use xde_illumos_shim::world;

const EPERM: i32 = 1;

/// Loads, attaches, sets and clears the underlay, detaches, unloads, three times on each kernel.
pub fn whole(setting: &Setting<'_>) -> Result<String> {
    for kernel in KERNELS {
        let mut host = Host::boot(setting.loaded(), setting.options(kernel));
        for _ in 0..3 {
            host.start()?;
            ensure!(host.inside(ddi::minors) == ["ctl"], "the control node");
            let shown = host.inside(world::console);
            ensure!(shown.iter().any(|line| line.contains("xde0")), "nothing is announced");
            for _ in 0..2 {
                host.ask(&SetUnderlay { links: vec![UNDERLAY.into()] })?;
                ensure!(!host.inside(ddi::detach), "it detaches with an underlay");
                host.ask(&ClearUnderlay {})?;
            }
            ensure!(host.counter("route_lookups") == 0, "counters of the host");
            host.stop()?;
            let left = host.left_over();
            ensure!(left.is_empty(), "left over: {left:#?}");
        }
        let complaints = host.complaints();
        ensure!(complaints.is_empty(), "against the rules: {complaints:#?}");
    }
    Ok("three lives on each of two kernels, nothing left over".into())
}

/// Who may not, and what makes no sense.
pub fn refusals(setting: &Setting<'_>) -> Result<String> {
    for kernel in KERNELS {
        let mut host = Host::boot(setting.loaded(), setting.options(kernel));
        ensure!(host.init() == 0 && host.inside(ddi::attach), "attach");
        let anybody = host.inside(|| ddi::open("ctl", 0, Who::Anybody));
        ensure!(anybody == Err(EPERM), "anybody may open: {anybody:?}");
        let exclusive = host.inside(|| ddi::open("ctl", FEXCL, Who::Privileged));
        ensure!(exclusive == Err(EINVAL), "exclusively: {exclusive:?}");
        let other = host.inside(|| ddi::open("other", 0, Who::Privileged));
        ensure!(other == Err(ENXIO), "another node: {other:?}");
        ensure!(host.inside(|| ddi::open("ctl", 0, Who::Privileged)) == Ok(()), "open");
        let frame = encode_request(&ListPorts {})?;
        ensure!(host.ioctl(Who::Anybody, &frame) == Err(EPERM), "an ioctl of anybody");
        ensure!(host.ioctl(Who::Privileged, &frame).is_ok(), "an ioctl");
        let raw = |command, at| ddi::ioctl("ctl", command, at, Who::Privileged);
        ensure!(host.inside(|| raw(COMMAND + 1, 0)) == ENOTTY, "another command");
        for at in [0, 8, usize::MAX - 8] {
            ensure!(host.inside(|| raw(COMMAND, at)) == EFAULT, "an argument nowhere");
        }
        let zeros = [0_u8; 40];
        let range = zeros.as_ptr_range();
        let ranges = [(range.start.addr()..range.end.addr(), true)];
        let at = zeros.as_ptr().expose_provenance();
        let error = host.inside(|| ddi::with_memory(&ranges, || raw(COMMAND, at)));
        ensure!(error == EPROTO, "zeros: {error}");
        let nonsense = host.ioctl(Who::Privileged, &[7; 5]);
        ensure!(nonsense == Err(EINVAL), "a request of five bytes: {nonsense:?}");
        host.shut_down()?;
    }
    Ok("callers without the privilege and arguments that make no sense get their errors".into())
}
