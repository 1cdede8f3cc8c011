// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! How a panic ends: with the kernel's own, which says where it was and why.

use core::ffi::c_char;
use core::fmt::Write;
use core::panic::PanicInfo;
use illumos_sys_hdrs::sys::cmn_err::panic as kernel_panic;

/// A text of fixed length; what does not fit is left out.
struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        // The last byte stays NUL.
        let room = self.bytes.len() - 1 - self.len;
        let fits = text.len().min(room);
        let to = self.bytes.iter_mut().skip(self.len).take(fits);
        to.zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.len += fits;
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text { bytes: [0; 256], len: 0 };
    // It never fails, and there is nobody to tell.
    let _ = write!(text, "{info}");
    // SAFETY: a literal format with one text that ends with NUL.
    unsafe { kernel_panic(c"xde: %s".as_ptr(), text.bytes.as_ptr().cast::<c_char>()) }
}
