// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The plug-in of devfsadm(8) that makes `/dev/xde`: for the node `ctl` of driver `xde`, one link.
//!
//! devfsadmd is a 32-bit process, so this becomes a 32-bit library, `SUNW_xde_link.so`. It has the
//! one table that devfsadmd looks for, one function, and no way to panic.

#![no_std]

#[cfg(test)]
extern crate std;

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// Version of the table.
const DEVFSADM_V0: c_uint = 0;
/// The kind of node and the name of the driver are meant as they are.
const TYPE_EXACT: c_int = 0x01;
const DRV_EXACT: c_int = 0x10;
/// Others may know the same nodes.
const ILEVEL_0: c_int = 0;
/// Look further.
const DEVFSADM_CONTINUE: c_int = 0;

/// The minor node that requests go to.
const CONTROL: &CStr = c"ctl";
/// Its name below `/dev`.
const LINK: &CStr = c"xde";

unsafe extern "C" {
    /// Name of a minor node, closed by NUL. See di_minor_name(3DEVINFO).
    fn di_minor_name(minor: *mut c_void) -> *mut c_char;
    /// Makes a link below `/dev` to a node. Of devfsadmd itself.
    fn devfsadm_mklink(
        link: *const c_char,
        node: *mut c_void,
        minor: *mut c_void,
        flags: c_int,
    ) -> c_int;
}

/// Which nodes a function is for.
#[repr(C)]
struct Create {
    class: *const c_char,
    node_type: *const c_char,
    driver: *const c_char,
    flags: c_int,
    level: c_int,
    make: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
}

/// What devfsadmd looks for in a plug-in.
#[repr(C)]
pub struct Registered {
    version: c_uint,
    count: c_uint,
    table: *const Create,
}

/// Only read, by whoever loads the plug-in.
struct Table([Create; 1]);

// SAFETY: nobody writes it, and texts and the function are static.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

static TABLE: Table = Table([Create {
    class: c"pseudo".as_ptr(),
    node_type: c"ddi_pseudo".as_ptr(),
    driver: c"xde".as_ptr(),
    flags: TYPE_EXACT | DRV_EXACT,
    level: ILEVEL_0,
    make,
}]);

/// The table, under the name that devfsadmd knows.
#[unsafe(export_name = "_devfsadm_create_reg")]
pub static REGISTERED: Registered =
    Registered { version: DEVFSADM_V0, count: 1, table: &raw const TABLE.0 as *const Create };

/// # Safety
///
/// Called by devfsadmd for a minor node of the driver.
unsafe extern "C" fn make(minor: *mut c_void, node: *mut c_void) -> c_int {
    // SAFETY: the caller's arguments; the name ends with NUL and is read while the node lives.
    unsafe {
        if is(di_minor_name(minor), CONTROL) {
            devfsadm_mklink(LINK.as_ptr(), node, minor, 0);
        }
    }
    DEVFSADM_CONTINUE
}

/// # Safety
///
/// `name` is null or ends with NUL.
unsafe fn is(name: *const c_char, known: &CStr) -> bool {
    let mut at = name;
    if at.is_null() {
        return false;
    }
    for byte in known.to_bytes_with_nul() {
        // SAFETY: all bytes before were equal to those of `known`, so none was the closing NUL.
        unsafe {
            if at.read().cast_unsigned() != *byte {
                return false;
            }
            at = at.add(1);
        }
    }
    true
}

/// Nothing here panics, and the build refuses a library in which anything could.
#[cfg(target_os = "illumos")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::null_mut;
    use std::sync::Mutex;

    static MADE: Mutex<std::vec::Vec<std::string::String>> = Mutex::new(std::vec::Vec::new());

    #[unsafe(no_mangle)]
    unsafe extern "C" fn di_minor_name(minor: *mut c_void) -> *mut c_char {
        minor.cast()
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn devfsadm_mklink(
        link: *const c_char,
        _node: *mut c_void,
        _minor: *mut c_void,
        _flags: c_int,
    ) -> c_int {
        // SAFETY: ends with NUL.
        let link = unsafe { CStr::from_ptr(link) };
        MADE.lock().unwrap().push(link.to_str().unwrap().into());
        0
    }

    #[test]
    fn the_control_node_alone_gets_a_link() {
        let table = &TABLE.0[0];
        for name in [c"ct", c"ctl", c"ctl0", c"xde0", c""] {
            // SAFETY: names end with NUL, and the functions above look at nothing else.
            unsafe { (table.make)(name.as_ptr().cast_mut().cast(), null_mut()) };
        }
        // SAFETY: no node, no name.
        unsafe { (table.make)(null_mut(), null_mut()) };
        assert_eq!(*MADE.lock().unwrap(), ["xde"]);
        assert_eq!((REGISTERED.version, REGISTERED.count), (0, 1));
    }
}
