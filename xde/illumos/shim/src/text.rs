// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! printf(9F), as far as drivers need it.

use alloc::format;
use alloc::string::String;
use core::ffi::{CStr, c_char};

/// A text that ends with NUL.
///
/// # Safety
///
/// Null, or such a text.
pub(crate) unsafe fn of(text: *const c_char) -> String {
    if text.is_null() {
        return "(null)".into();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A format with its arguments, each a word: integers, addresses and texts.
///
/// # Safety
///
/// As for [`of`], and the arguments fit the format.
pub(crate) unsafe fn format(format: *const c_char, arguments: &[usize]) -> String {
    // SAFETY: the caller's promise.
    let format = unsafe { of(format) };
    let (mut line, mut arguments) = (String::new(), arguments.iter().copied());
    let mut rest = format.chars();
    while let Some(next) = rest.next() {
        if next != '%' {
            line.push(next);
            continue;
        }
        let kind = rest.by_ref().find(|it| !it.is_ascii_digit() && !matches!(it, 'l' | 'z' | '-'));
        if kind == Some('%') {
            line.push('%');
            continue;
        }
        let word = arguments.next().unwrap_or_default();
        match kind {
            Some('s') => {
                let text = core::ptr::with_exposed_provenance(word);
                // SAFETY: the argument is a text, by the caller's promise.
                line.push_str(&unsafe { of(text) });
            }
            Some('d' | 'i') => line.push_str(&format!("{}", word.cast_signed() as i32)),
            Some('u') => line.push_str(&format!("{}", word as u32)),
            Some('x' | 'p') => line.push_str(&format!("{word:x}")),
            _ => line.push('?'),
        }
    }
    line
}
