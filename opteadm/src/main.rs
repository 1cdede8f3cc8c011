// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! `opteadm`, the operator's command line.
//!
//! From the top down: [`cli`] says what can be typed; each file of [`commands`] turns one family
//! of commands into requests; [`console`] asks the engine and shows its answer, as a table or as
//! JSON; [`render`] knows how each answer looks as a table. [`values`] reads the text forms that
//! only this program has, [`packet`] makes packets to be traced; [`watch`] shows the same again and again.
//!
//! Guarantees: a command that changes something sends at most one request, after one that asks where
//! it must know what there is, and none when an argument is wrong; one that shows something large
//! asks for it page by page, as what is saved and restored goes in parts. Exit status 0 is success, 1 a refusal or failure, 2 wrong usage.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod console;
mod packet;
mod render;
mod values;
mod watch;

use clap::{CommandFactory, FromArgMatches};
use cli::Cli;
use console::{Console, Form, Reached};
use std::ffi::OsString;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use watch::{Every, Screen};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&words) {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error, wants_json(&words)),
    };
    let form = if cli.json { Form::Json } else { Form::Table };
    let done = match cli.watch {
        Some(seconds) => watch(seconds, form, &words),
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            perform(cli, form, &mut out).and_then(|()| Ok(out.flush()?))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            form.report(&told(&error));
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; what can only be said once cannot be watched.
fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let mut matches = command.try_get_matches_from_mut(words)?;
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let cli =
        Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    if cli.watch.is_some() && !cli::shows(&name) {
        let why = format!("--watch is for commands that only show something, which {name} is not");
        return Err(command.error(clap::error::ErrorKind::ArgumentConflict, why));
    }
    Ok(cli)
}

fn perform(cli: Cli, form: Form, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut console = Console {
        xde: &mut Reached { socket: cli.socket },
        form,
        input: &mut io::stdin().lock(),
        out,
    };
    commands::run(cli.command, &mut console)
}

fn watch(seconds: f64, form: Form, words: &[OsString]) -> anyhow::Result<()> {
    let typed: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let title = format!("Every {seconds}s: opteadm {}", typed.join(" "));
    let mut out = io::stdout().lock();
    let screen = Screen { form, title: &title, redraw: out.is_terminal() };
    let mut ticks = Every(Duration::from_secs_f64(seconds));
    screen.watch(&mut ticks, &mut out, |out| perform(parse(words)?, form, out))
}

/// What went wrong; commands that a host does not know by their names.
fn told(error: &anyhow::Error) -> String {
    use opte_api::OpteError::UnknownCommand;
    match error.downcast_ref::<opte_ioctl::Error>() {
        Some(opte_ioctl::Error::Refused(UnknownCommand(code))) => {
            let name = oxide_vpc_api::request::name(*code).unwrap_or("?");
            format!("this host does not know the command {name} ({code}): it may be an older one")
        }
        _ => error.to_string(),
    }
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
        let error = parse(&["opteadm", "delete-xde"].map(Into::into)).unwrap_err();
        assert_eq!(
            usage_sentence(&error.to_string()),
            "the following required arguments were not provided: <NAME>"
        );
    }

    #[test]
    fn only_what_shows_can_be_watched() {
        let parsed = |line: &str| parse(&line.split(' ').map(Into::into).collect::<Vec<_>>());
        assert_eq!(parsed("opteadm list-ports --watch 0.5").unwrap().watch, Some(0.5));
        let error = parsed("opteadm delete-xde opte0 --watch 1").unwrap_err().to_string();
        assert!(error.contains("which delete-xde is not"), "{error}");
        for bad in ["0", "-1", "x", "NaN", "inf", "1e9"] {
            assert!(parsed(&format!("opteadm list-ports --watch={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_that_the_host_does_not_know_is_named() {
        let refused = |code| {
            let error = opte_api::OpteError::UnknownCommand(code);
            told(&opte_ioctl::Error::Refused(error).into())
        };
        assert!(refused(171).contains("KillFlows (171)"));
        assert!(refused(9999).contains("? (9999)"));
    }
}
