// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Manual pages and shell completions, made from what can be typed.

use crate::cli::Cli;
use crate::console::{Console, Xde};
use anyhow::Context;
use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// Commands that ask nobody.
#[derive(Debug, Subcommand)]
pub enum ManualCommand {
    /// Write manual pages, one for each command, into a folder
    #[command(hide = true, after_help = "Examples:\n  opteadm man /usr/share/man/man1")]
    Man {
        /// The folder; it must exist
        folder: PathBuf,
    },
    /// Write the completions of a shell to standard output
    #[command(hide = true, after_help = "Examples:\n  opteadm completions bash")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl ManualCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        let mut command = Cli::command();
        match self {
            Self::Man { folder } => {
                let whole = command.mut_subcommands(|command| command.hide(false));
                clap_mangen::generate_to(whole, &folder)
                    .with_context(|| format!("cannot write to {}", folder.display()))
            }
            Self::Completions { shell } => {
                clap_complete::generate(shell, &mut command, "opteadm", console.out);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tests::silent;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        silent(ManualCommand::Man { folder: folder.path().into() });
        let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page("opteadm.1").contains("packet transform engine"));
        for command in Cli::command().get_subcommands() {
            let text = page(&format!("opteadm-{}.1", command.get_name()));
            let about = command.get_about().unwrap().to_string();
            let first = about.split([' ', '-']).next().unwrap();
            assert!(text.contains(first), "{}", command.get_name());
        }
        assert!(page("opteadm-dump-uft.1").contains("State of the TCP connection"));
        let missing = Cli::command();
        assert!(clap_mangen::generate_to(missing, folder.path().join("none")).is_err());
    }

    #[test]
    fn shells_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = silent(ManualCommand::Completions { shell });
            assert!(text.contains("dump-tcp-flows") && text.contains("state"), "{shell}");
        }
    }
}
