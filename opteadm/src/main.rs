// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `opteadm`, the operator's command line.
//!
//! From the top down: [`cli`] says what can be typed; each file of [`commands`] turns one family
//! of commands into requests; [`console`] asks the engine and shows its answer, as a table or as
//! JSON; [`render`] knows how each answer looks as a table. [`values`] reads the text forms that
//! only this program has.
//!
//! Guarantees: one command sends at most one request, after one that asks where it must know what
//! there is, and sends none when an argument is wrong.
//! Exit status 0 is success, 1 a refusal or failure, 2 wrong usage.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod console;
mod render;
mod values;

use clap::Parser;
use cli::Cli;
use console::{Console, Form, Reached};
use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error, wants_json(&words)),
    };
    let form = if cli.json { Form::Json } else { Form::Table };
    match perform(cli, form) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            form.report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli, form: Form) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut console = Console {
        xde: &mut Reached { socket: cli.socket },
        form,
        input: &mut io::stdin().lock(),
        out: &mut out,
    };
    commands::run(cli.command, &mut console)?;
    out.flush()?;
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Programs get their kind of error even when their words are wrong, so this looks at words only.
fn wants_json(words: &[OsString]) -> bool {
    words.iter().any(|word| word == "--json")
}

fn explain_usage(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        Form::Json.report(&usage_sentence(&error.to_string()));
    } else if error.print().is_err() {
        return ExitCode::FAILURE;
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The first paragraph of clap's explanation, as one line.
fn usage_sentence(explanation: &str) -> String {
    let first = explanation.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_become_one_line() {
        let error = Cli::try_parse_from(["opteadm", "delete-xde"]).unwrap_err();
        assert_eq!(
            usage_sentence(&error.to_string()),
            "the following required arguments were not provided: <NAME>"
        );
    }
}
