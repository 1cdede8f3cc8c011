// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `/dev/xde`: requests by ioctl, for those who may configure data links.
//!
//! What a caller says is believed no further than it is bounded: the argument has a fixed length,
//! the request and the room for the answer have limits, and both are copied before and after
//! anything is done.

use crate::host;
use crate::memory::{MayWait, NOTHING};
use crate::module::attached;
use crate::platform::IllumosPlatform;
use crate::state::State;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{c_int, c_void};
use illumos_sys_hdrs::sys::cred::cred_t;
use illumos_sys_hdrs::sys::ddi::getminor;
use illumos_sys_hdrs::sys::errno::{EFAULT, EINVAL, ENOBUFS, ENOTTY, ENXIO, EPROTO};
use illumos_sys_hdrs::sys::file::{FEXCL, FNDELAY, FNONBLOCK};
use illumos_sys_hdrs::sys::mac_provider::mac_private_minor;
use illumos_sys_hdrs::sys::open::OTYP_CHR;
use illumos_sys_hdrs::sys::policy::secpolicy_dl_config;
use illumos_sys_hdrs::sys::sunddi::{ddi_copyin, ddi_copyout};
use illumos_sys_hdrs::sys::types::{dev_t, intptr_t};
use opte_api::OpteError;
use opte_api::frame::{HEADER_LEN, Header, MAX_REQUEST, encode_answer};
use opte_api::ioctl::{COMMAND, Exchange, Wrong};

/// # Safety
///
/// Called by the kernel as an entry point, see open(9E).
pub unsafe extern "C" fn open(
    device: *mut dev_t,
    flags: c_int,
    kind: c_int,
    credentials: *mut cred_t,
) -> c_int {
    // SAFETY: the entry point's arguments; minor numbers may be asked for in any context.
    let (is_control, allowed) = unsafe {
        let is_control = getminor(*device) == mac_private_minor();
        (is_control, secpolicy_dl_config(credentials.cast_const()))
    };
    if kind != OTYP_CHR || flags & (FEXCL | FNDELAY | FNONBLOCK) != 0 {
        EINVAL
    } else if !is_control || attached().is_none() {
        ENXIO
    } else {
        allowed
    }
}

/// # Safety
///
/// Called by the kernel as an entry point, see close(9E).
pub unsafe extern "C" fn close(_: dev_t, _: c_int, _: c_int, _: *mut cred_t) -> c_int {
    0
}

/// # Safety
///
/// Called by the kernel as an entry point, see ioctl(9E).
pub unsafe extern "C" fn ioctl(
    _device: dev_t,
    command: c_int,
    argument: intptr_t,
    mode: c_int,
    credentials: *mut cred_t,
    _value: *mut c_int,
) -> c_int {
    if command != COMMAND {
        return ENOTTY;
    }
    // Whoever opened the device may have given it to somebody who may not.
    // SAFETY: the entry point's argument.
    let allowed = unsafe { secpolicy_dl_config(credentials.cast_const()) };
    if allowed != 0 {
        return allowed;
    }
    let Some(attached) = attached() else { return ENXIO };
    let caller = Caller { mode };
    exchange(&attached.state, &caller, argument as usize as u64).err().unwrap_or(0)
}

/// Memory of whoever makes an ioctl.
struct Caller {
    mode: c_int,
}

impl Caller {
    fn read(&self, from: u64, to: &mut [u8]) -> Result<(), c_int> {
        let from = NOTHING.with_addr(from as usize).cast_const();
        // SAFETY: `to` has so many bytes; whether `from` may be read is for this call to find out.
        // User context, no lock held.
        let copied = unsafe { ddi_copyin(from, to.as_mut_ptr().cast(), to.len(), self.mode) };
        if copied == 0 { Ok(()) } else { Err(EFAULT) }
    }

    fn write(&self, to: u64, from: &[u8]) -> Result<(), c_int> {
        let to = NOTHING.with_addr(to as usize);
        // SAFETY: `from` has so many bytes; whether `to` may be written is for this call to find
        // out. User context, no lock held.
        let copied =
            unsafe { ddi_copyout(from.as_ptr().cast::<c_void>(), to, from.len(), self.mode) };
        if copied == 0 { Ok(()) } else { Err(EFAULT) }
    }
}

fn exchange(state: &Arc<State>, caller: &Caller, argument: u64) -> Result<(), c_int> {
    let waits = MayWait::here();
    let mut bytes = [0; Exchange::LEN];
    caller.read(argument, &mut bytes)?;
    let exchange = Exchange::from_bytes(&bytes).map_err(|wrong| match wrong {
        Wrong::Version => EPROTO,
        Wrong::Length => EINVAL,
    })?;
    let mut request = alloc::vec![0; exchange.request_len as usize];
    caller.read(exchange.request, &mut request)?;
    let answer = serve(state, waits, &request, exchange.room as usize);
    drop(request);
    let answer_len = u32::try_from(answer.len()).unwrap_or(u32::MAX);
    let fits = answer_len <= exchange.room;
    if fits {
        caller.write(exchange.answer, &answer)?;
    }
    caller.write(argument, &Exchange { answer_len, ..exchange }.to_bytes())?;
    if fits { Ok(()) } else { Err(ENOBUFS) }
}

/// From a whole frame to a whole frame, for which there is so much room.
fn serve(state: &Arc<State>, waits: MayWait, request: &[u8], room: usize) -> Vec<u8> {
    let parsed = request
        .split_first_chunk::<HEADER_LEN>()
        .map(|(head, body)| Header::from_bytes(*head, MAX_REQUEST).map(|header| (header, body)));
    let (header, body) = match parsed {
        Some(Ok((header, body))) if header.len as usize == body.len() => (header, body),
        Some(Err(error)) => return encode_answer::<()>(&Err(error)),
        _ => {
            let why = "the header tells another length than the ioctl";
            return encode_answer::<()>(&Err(OpteError::BadRequest(why.into())));
        }
    };
    let mut platform = IllumosPlatform { state, _waits: waits };
    state.driver.control_within(&mut platform, host::now(), header, body, room)
}
