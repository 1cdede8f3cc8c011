// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Showing the same again and again.
//!
//! People see one screen that is drawn anew; programs get one line of JSON for each look. A look
//! that fails is told in place of what it would have shown, and watching goes on: so one can watch
//! a daemon come back.

use crate::console::Form;
use std::io::Write;
use std::time::Duration;

/// Whatever makes the time pass between two looks.
pub trait Ticks {
    /// Waits for the next look; false if there is none.
    fn tick(&mut self) -> bool;
}

/// Looks for ever, with this time between them.
pub struct Every(pub Duration);

impl Ticks for Every {
    fn tick(&mut self) -> bool {
        std::thread::sleep(self.0);
        true
    }
}

/// Homes the cursor and clears what is below it (ECMA-48, CUP and ED).
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// How looks are shown.
#[derive(Clone, Copy, Debug)]
pub struct Screen<'a> {
    /// Tables or JSON.
    pub form: Form,
    /// What stands above a table.
    pub title: &'a str,
    /// The output is a terminal: each look takes the place of the one before.
    pub redraw: bool,
}

impl Screen<'_> {
    /// Shows what `look` writes, until there are no more ticks or nobody reads.
    pub fn watch(
        self,
        ticks: &mut dyn Ticks,
        out: &mut dyn Write,
        mut look: impl FnMut(&mut dyn Write) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            // Complete before it is shown: nobody sees half a table.
            let mut seen = Vec::new();
            if let Err(error) = look(&mut seen) {
                seen = self.form.complaint(&error.to_string()).into_bytes();
            }
            if self.form == Form::Table {
                if self.redraw {
                    out.write_all(CLEAR)?;
                }
                writeln!(out, "{}\n", self.title)?;
            }
            out.write_all(&seen)?;
            if self.form == Form::Table && !self.redraw {
                writeln!(out)?;
            }
            out.flush()?;
            if !ticks.tick() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many looks, and no time between them.
    struct Looks(u32);

    impl Ticks for Looks {
        fn tick(&mut self) -> bool {
            self.0 -= 1;
            self.0 > 0
        }
    }

    fn watched(form: Form, redraw: bool) -> String {
        let mut count = 0;
        let mut out = Vec::new();
        let screen = Screen { form, title: "Every 2s: opteadm list-ports", redraw };
        screen
            .watch(&mut Looks(3), &mut out, |out| {
                count += 1;
                if count == 2 {
                    anyhow::bail!("gone");
                }
                Ok(writeln!(out, "{count}")?)
            })
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_look_takes_the_place_of_the_one_before() {
        let title = "Every 2s: opteadm list-ports\n\n";
        let screens = ["1\n", "opteadm: gone\n", "3\n"];
        let drawn = screens.map(|screen| format!("\x1b[H\x1b[2J{title}{screen}"));
        assert_eq!(watched(Form::Table, true), drawn.concat());
        let listed = screens.map(|screen| format!("{title}{screen}\n"));
        assert_eq!(watched(Form::Table, false), listed.concat());
    }

    #[test]
    fn programs_get_a_line_for_each_look() {
        for redraw in [false, true] {
            assert_eq!(watched(Form::Json, redraw), "1\n{\"error\":\"gone\"}\n3\n");
        }
    }

    #[test]
    fn nobody_reading_ends_it() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let screen = Screen { form: Form::Table, title: "", redraw: true };
        let error = screen.watch(&mut Looks(9), &mut Closed, |_| Ok(())).unwrap_err();
        assert!(error.downcast_ref::<std::io::Error>().is_some());
    }
}
