// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which part of something large: flags that commands share, and pages asked for until they are
//! enough.

use crate::values;
use anyhow::bail;
use clap::{ArgAction, Args};
use opte_api::{Direction, IpCidr, Protocol};
use oxide_vpc_api::filter::{FlowFilter, Page, TCP_STATES};
use oxide_vpc_api::{PortName, PortRange};

/// Heading of the flags that filter.
const FILTER: &str = "Which flows (all that is given must hold of one direction)";

/// A port, and which of its flows.
#[derive(Args, Debug)]
pub struct OnFlows {
    /// Name of the port; and, as a number or FIRST-LAST, TCP or UDP ports, or echo identifiers
    #[arg(short = 'p', long = "port", required = true, action = ArgAction::Append)]
    #[arg(value_name = "NAME|NUMBER", value_parser = port_word)]
    words: Vec<PortWord>,
    /// Protocol: tcp, udp, icmp, icmp6 or a number
    #[arg(long, value_parser = values::protocol, help_heading = FILTER)]
    proto: Option<Protocol>,
    /// Source address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = values::prefix, help_heading = FILTER)]
    src: Option<IpCidr>,
    /// Destination address or prefix
    #[arg(long, value_name = "PREFIX", value_parser = values::prefix, help_heading = FILTER)]
    dst: Option<IpCidr>,
    /// State of the TCP connection
    #[arg(long, help_heading = FILTER, ignore_case = true, hide_possible_values = true)]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TCP_STATES))]
    state: Option<String>,
    /// Which way the connection was opened: out or in
    #[arg(long, value_name = "DIR", help_heading = FILTER)]
    opened: Option<Direction>,
}

#[derive(Clone, Debug)]
enum PortWord {
    Name(PortName),
    Numbers(PortRange),
}

fn port_word(text: &str) -> Result<PortWord, String> {
    // The name of a port begins with a letter, so there is no doubt.
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return values::ports(text).map(PortWord::Numbers);
    }
    text.parse().map(PortWord::Name).map_err(|error| format!("{error}"))
}

impl OnFlows {
    /// The port and the filter.
    pub fn split(self) -> anyhow::Result<(PortName, FlowFilter)> {
        let (mut names, mut ranges) = (Vec::new(), Vec::new());
        for word in self.words {
            match word {
                PortWord::Name(name) => names.push(name),
                PortWord::Numbers(range) => ranges.push(range),
            }
        }
        let [name] = names.as_slice() else {
            bail!("name one port of this host with -p, as list-ports shows it");
        };
        if ranges.len() > 1 {
            bail!("give one number or range of numbers with --port, as in --port 8000-8080");
        }
        let filter = FlowFilter {
            protocol: self.proto,
            src: self.src,
            dst: self.dst,
            port: ranges.first().copied(),
            state: self.state,
            opened: self.opened,
        };
        filter.validate()?;
        Ok((name.clone(), filter))
    }
}

/// How much of a dump, and from where.
#[derive(Args, Debug)]
#[command(next_help_heading = "How much")]
pub struct PageArgs {
    /// Show at most this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Go on where an earlier dump has ended, as it said
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
}

impl PageArgs {
    /// Asks for pages until there are no more, or enough. Answers the entries, and where they end
    /// if there may be more.
    pub fn collect<C: Cursor, T>(
        &self,
        mut ask: impl FnMut(Page<C>) -> anyhow::Result<(Vec<T>, Option<C>)>,
    ) -> anyhow::Result<(Vec<T>, Option<C>)> {
        let mut after = self.after.as_deref().map(cursor).transpose()?;
        let mut all = Vec::new();
        loop {
            let left = self.limit.map_or(0, |limit| limit - all.len() as u32);
            let (entries, next) = ask(Page { after, limit: left })?;
            all.extend(entries);
            let enough = self.limit.is_some_and(|limit| all.len() >= limit as usize);
            if next.is_none() || enough {
                return Ok((all, next));
            }
            after = next;
        }
    }
}

fn cursor<C: Cursor>(text: &str) -> anyhow::Result<C> {
    C::read(text).ok_or_else(|| anyhow::anyhow!("--after: '{text}' is no cursor: {}", C::FORM))
}

/// Where a page ended, as text.
pub trait Cursor: Copy {
    /// How it is written.
    const FORM: &'static str;
    /// Reads it.
    fn read(text: &str) -> Option<Self>;
}

impl Cursor for u32 {
    const FORM: &'static str = "write a number";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Cursor for (opte_api::Vni, std::net::IpAddr) {
    const FORM: &'static str = "write VNI/ADDRESS";

    fn read(text: &str) -> Option<Self> {
        let (vni, ip) = text.split_once('/')?;
        Some((vni.parse().ok()?, ip.parse().ok()?))
    }
}

impl Cursor for IpCidr {
    const FORM: &'static str = "write a prefix";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked of a host that has the numbers 0 to 9, three of them at most in a page.
    fn collected(limit: Option<u32>, after: Option<&str>) -> (Vec<u32>, Option<u32>, usize) {
        let mut pages = 0;
        let args = PageArgs { limit, after: after.map(Into::into) };
        let (all, next) = args
            .collect(|page: Page<u32>| {
                pages += 1;
                let first = page.after.map_or(0, |after| after + 1);
                let limit = if page.limit == 0 { 3 } else { page.limit.min(3) };
                let last = (first + limit).min(10);
                Ok(((first..last).collect(), Some(last - 1).filter(|_| last < 10)))
            })
            .unwrap();
        (all, next, pages)
    }

    #[test]
    fn pages_are_asked_for_until_they_are_enough() {
        assert_eq!(collected(None, None), ((0..10).collect(), None, 4));
        assert_eq!(collected(Some(5), None), ((0..5).collect(), Some(4), 2));
        assert_eq!(collected(Some(5), Some("4")), ((5..10).collect(), None, 2));
        assert_eq!(collected(Some(1), Some("8")), (vec![9], None, 1));
    }

    #[test]
    fn cursors_are_read_as_they_are_shown() {
        assert_eq!(u32::read("7"), Some(7));
        assert!(<(opte_api::Vni, std::net::IpAddr)>::read("100/fd12::5").is_some());
        assert!(IpCidr::read("10.0.0.0/8").is_some());
        assert!(cursor::<u32>("x").unwrap_err().to_string().contains("write a number"));
    }
}
