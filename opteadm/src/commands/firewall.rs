// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Firewall rules.

use crate::cli::OnPort;
use crate::console::{Console, Xde};
use crate::render::AddedRule;
use anyhow::{anyhow, ensure};
use clap::{Args, Subcommand};
use opte_api::Direction;
use oxide_vpc_api::FirewallRule;
use oxide_vpc_api::firewall::MAX_RULES;
use oxide_vpc_api::request::{AddFwRule, RemFwRule, SetFwRules};
use std::io::{BufRead, Read};

/// Most bytes of rules on standard input.
const MAX_INPUT: usize = 64 << 20;

const LANGUAGE: &str = "\
A rule is words KEY=VALUE in any order, in capitals or not:
  dir=in|out            which way the connection is opened; needed
  action=WORD           allow, deny or reject (deny, and tell the sender); needed
  priority=0..65535     lower goes first, deny before allow; needed
  hosts=VALUE           the remote side: any, ip=ADDRESS, subnet=PREFIX or vni=NUMBER
  protocol=VALUE        any, tcp, udp, icmp[:TYPE[-TYPE][,CODE[-CODE]]], icmp6[...] or a
                        number
  port=VALUE            destination ports: any, or numbers and ranges with commas
  uuid=UUID             a name for programs
  comment=TEXT          for people; comes last, and is all the text behind it";

fn help(examples: &str) -> String {
    format!("{LANGUAGE}\n\nExamples:\n{examples}")
}

fn add_help() -> String {
    help(
        "  opteadm add-fw-rule -p opte0 dir=in action=allow priority=100 protocol=tcp port=22,80-90
  opteadm add-fw-rule -p opte0 --dir in --action deny --priority 10 --hosts subnet=10.0.0.0/8
  opteadm add-fw-rule -p opte0 --dir in --action allow --priority 20 --protocol icmp:8",
    )
}

fn set_help() -> String {
    help("  opteadm set-fw-rules -p opte0 < rules.txt")
}

/// Commands about firewall rules.
#[derive(Debug, Subcommand)]
pub enum FirewallCommand {
    /// Add a firewall rule, and tell its number
    #[command(after_help = add_help())]
    AddFwRule(AddArgs),
    /// Remove a firewall rule
    #[command(after_help = "Examples:\n  opteadm rm-fw-rule -p opte0 --dir in 7")]
    RmFwRule {
        #[command(flatten)]
        on: OnPort,
        /// Direction of the rule
        #[arg(long, value_name = "in|out")]
        dir: Direction,
        /// Number of the rule, as dump-layer shows it
        id: u64,
    },
    /// Replace all firewall rules in one step by those on standard input
    ///
    /// Reads one rule a line. Text after '#' and empty lines are ignored; no rule at all removes
    /// every rule. If a line is wrong, its number is told and nothing is changed.
    #[command(after_help = set_help())]
    SetFwRules {
        #[command(flatten)]
        on: OnPort,
    },
}

/// A rule by flags, or by its text.
#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    on: OnPort,
    /// Which way the connection is opened
    #[arg(long, value_parser = ["in", "out"])]
    #[arg(required_unless_present = "rule", conflicts_with = "rule")]
    dir: Option<String>,
    /// What is done
    #[arg(long, value_parser = ["allow", "deny", "reject"])]
    #[arg(required_unless_present = "rule", conflicts_with = "rule")]
    action: Option<String>,
    /// Lower goes first
    #[arg(long, value_name = "NUMBER", required_unless_present = "rule", conflicts_with = "rule")]
    priority: Option<String>,
    /// The remote side [default: any]
    #[arg(long, conflicts_with = "rule")]
    hosts: Option<String>,
    /// The protocol [default: any]
    #[arg(long, conflicts_with = "rule")]
    protocol: Option<String>,
    /// Destination ports [default: any]
    #[arg(long, conflicts_with = "rule")]
    ports: Option<String>,
    /// The rule as text, instead of flags
    #[arg(value_name = "KEY=VALUE")]
    rule: Vec<String>,
}

impl FirewallCommand {
    /// Carries it out.
    pub fn run<X: Xde>(self, console: &mut Console<'_, X>) -> anyhow::Result<()> {
        match self {
            Self::AddFwRule(rule) => {
                let rule = AddFwRule { rule: rule.parse()?, port: rule.on.port };
                let id = console.xde.request(&rule)?;
                console.show(&AddedRule { id })
            }
            Self::RmFwRule { on, dir, id } => {
                console.ask(&RemFwRule { port: on.port, direction: dir, id })
            }
            Self::SetFwRules { on } => {
                let rules = read_rules(console.input)?;
                console.ask(&SetFwRules { port: on.port, rules })
            }
        }
    }
}

impl AddArgs {
    /// Flags become the words of the one rule language.
    fn parse(&self) -> anyhow::Result<FirewallRule> {
        let flags = [
            ("dir", &self.dir),
            ("action", &self.action),
            ("priority", &self.priority),
            ("hosts", &self.hosts),
            ("protocol", &self.protocol),
            ("port", &self.ports),
        ];
        let of_flag = |(key, value): (&str, &Option<String>)| {
            value.as_ref().map(|value| format!("{key}={value}"))
        };
        let words: Vec<String> =
            flags.into_iter().filter_map(of_flag).chain(self.rule.iter().cloned()).collect();
        Ok(words.join(" ").parse()?)
    }
}

fn read_rules(input: &mut dyn BufRead) -> anyhow::Result<Vec<FirewallRule>> {
    let mut text = String::new();
    input.take(MAX_INPUT as u64 + 1).read_to_string(&mut text).map_err(|error| {
        anyhow!("standard input cannot be read ({error}): give one rule a line")
    })?;
    ensure!(text.len() <= MAX_INPUT, "standard input is over {MAX_INPUT} bytes: give fewer rules");
    let mut rules = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let rule = line.split('#').next().unwrap_or_default().trim();
        if rule.is_empty() {
            continue;
        }
        ensure!(rules.len() < MAX_RULES, "line {number}: a port has at most {MAX_RULES} rules");
        rules.push(
            rule.parse().map_err(|error| anyhow!("line {number}: {error}; nothing was changed"))?,
        );
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let rules = read_rules(&mut text.as_bytes()).map_err(|error| error.to_string())?;
        Ok(rules.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn comments_and_empty_lines_are_ignored() {
        let text = "# web\n\n  dir=in action=allow priority=7 port=80 # http\r\n\t\n#end";
        let rule = "dir=in action=allow priority=7 hosts=any protocol=any port=80";
        assert_eq!(read(text), Ok(vec![rule.to_string()]));
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        let text = "dir=in action=allow priority=1\n\n# two\ndir=up action=allow priority=1\n";
        let error = read(text).unwrap_err();
        assert_eq!(
            error,
            "line 4: invalid firewall rule: a direction is 'in' or 'out'; nothing was changed"
        );
        assert!(
            read_rules(&mut &[0xff, 0xfe][..]).unwrap_err().to_string().contains("cannot be read")
        );
    }

    #[test]
    fn there_is_a_limit_to_the_number_of_rules() {
        let most = "dir=in action=allow priority=1\n".repeat(MAX_RULES);
        assert_eq!(read(&most).map(|rules| rules.len()), Ok(MAX_RULES));
        let error = read(&format!("{most}dir=in action=allow priority=1")).unwrap_err();
        assert_eq!(error, "line 10001: a port has at most 10000 rules");
    }
}
