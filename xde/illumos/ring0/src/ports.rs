// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports of the machine: a serial line to print on, a way to end, and the chip with the clock.

use core::arch::asm;
use core::fmt::{self, Write};

const SERIAL: u16 = 0x3f8;
/// QEMU's `isa-debug-exit`: ends it with twice the number and one.
const EXIT: u16 = 0xf4;
const PIC: [u16; 2] = [0x20, 0xa0];
const PIT: u16 = 0x40;
/// Ticks of the clock's crystal in a second.
const CRYSTAL: u32 = 1_193_182;

/// How it ended, as the number that is written to [`EXIT`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Outcome {
    /// Status 33.
    Well = 16,
    /// Status 35.
    Badly = 17,
}

fn write(port: u16, value: u8) {
    // SAFETY: ports of devices that touch no memory.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

fn read(port: u16) -> u8 {
    let value;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// The serial line.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while read(SERIAL + 5) & 0x20 == 0 {}
            write(SERIAL, byte);
        }
        Ok(())
    }
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {{
        use core::fmt::Write;
        // The line is always there.
        let _ = writeln!($crate::ports::Serial, $($arguments)*);
    }};
}

/// Ends the machine.
pub fn exit(outcome: Outcome) -> ! {
    write(EXIT, outcome as u8);
    loop {
        // SAFETY: waits for the machine's end.
        unsafe { asm!("hlt", options(nomem, nostack)) };
    }
}

/// Lets the clock interrupt so often a second, as vector 32, and nothing else.
pub fn start_clock(hertz: u32) {
    for (at, pic) in PIC.into_iter().enumerate() {
        let (first_vector, wiring) = ([32, 40][at], [4, 2][at]);
        write(pic, 0x11);
        write(pic + 1, first_vector);
        write(pic + 1, wiring);
        write(pic + 1, 1);
        write(pic + 1, [0xfe, 0xff][at]);
    }
    let divisor = (CRYSTAL / hertz) as u16;
    write(PIT + 3, 0x34);
    divisor.to_le_bytes().into_iter().for_each(|byte| write(PIT, byte));
}

/// Lets the next interrupt of the clock come.
pub fn end_of_interrupt() {
    write(PIC[0], 0x20);
}
