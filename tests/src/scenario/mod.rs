// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Scenarios as text: who sends what to whom, and what comes of it.
//!
//! Each line is a step; `#` begins a comment. Guests `g5` and `g6` are on one host, `g7` is on
//! another; `out` is outside. All have routes to one another and to the outside, share one
//! external address for source NAT, and nobody is let in. Packets:
//!
//! ```text
//! g5 -> out udp 1000:80 => out from g5.snat:$p     arrives outside; its source port becomes $p
//! out -> g5.snat udp 80:$p => g5 to g5:1000        arrives at g5 with this destination
//! g5 -> g7 tcp:S 1:22 => drop firewall_default     is dropped, here or there, for this reason
//! g5 -> gw ping 9 => reply                         is answered by the gateway
//! out -> g5.snat error => g5 about g5:1000         ICMP error about the last packet from there; towards
//!                                                  names that one's destination
//! out -> g5.snat tcp:A 80:$p => refuse connection_cut reply   ends; both ends are told, g5 first
//! g7 -> g5 tcp:S 1:22 => refuse firewall_reject g7 is rst     is dropped, and this comes to g7
//! out -> g5.snat udp 80:$p by=g6 => g5         the boundary takes it for one of g6's
//! ```
//!
//! What is sent is `udp`, `tcp:FLAGS` with letters of SAFRP (and `seq=NUMBER`, `ack=NUMBER`), `ping` and
//! `pong` with identifier, `stamp` and `stamped` (ICMP timestamps) likewise, `gre`, or `error`; with a 6 behind (`udp6`, `tcp6:S`) over IPv6. For
//! an echo message `from` and `to` take the identifier as port. `out2` is outside, too, and
//! `g5.192.0.2.9` that address, behind which the boundary expects g5. What goes from one guest to
//! an external address of another is turned round by a real boundary. Other steps:
//!
//! ```text
//! limit 4                          the world begins anew; ports have at most 4 flows
//! wait 61s                         the clocks go on, and flows expire
//! rules g5 = RULE; RULE            these are all firewall rules
//! external g5 = snat floating@1    these are all external addresses; @ names the gateway served
//! external g6 = snat.g5            the very range of another guest; snat/COUNT are its first ports
//! route g5 + out ig@1              a custom route: all, out, vpc or g6.attached to ig, ig@N, drop, vpc or gN
//! route g5 - out ig@1              no longer
//! attach g5 = known                g5.known is behind it and known outside; or attached, inside
//! detach g5 = known                no longer
//! allow g5 out = transit           g5.transit may be a source (out) or a destination (in)
//! remove g5 out = transit          no longer
//! set g5 = idle.udp=180 idle.short=true   changes settings, as opteadm does
//! refused idle set g5 = idle.udp=0 this line is refused, and "idle" is said
//! flows g5 = 3                     so many flows
//! leases g5 = 3                    so many external tuples on loan
//! count g5 flows_cut = 1           a counter
//! generation g5 = $g               the number of its policy; the same as before if $g is known
//! tcp g5 = ESTABLISHED CLOSED      states of the TCP flows, in alphabetical order
//! delete g5 / create g5            port and all
//! ```

mod control;
mod talk;
mod world;

pub use world::{Arrival, Make, World};

use crate::hypervisor::{Hypervisor, Played};
use std::collections::BTreeMap;

/// Plays a scenario; panics with the line that goes otherwise.
#[track_caller]
pub fn check(scenario: &str) {
    if let Err(why) = play_on(scenario, &Hypervisor::new) {
        panic!("{why}");
    }
}

/// Plays a scenario on hosts that `make` makes; the error is the line that goes otherwise.
pub fn play_on<H: Played>(scenario: &str, make: &Make<'_, H>) -> Result<(), String> {
    let world = World::on(4096, make);
    let mut stage = Stage { make, world, variables: BTreeMap::new(), received: BTreeMap::new() };
    let lines = scenario.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        stage.play(line).map_err(|why| format!("line {}: {line}\n{why}", number + 1))?;
    }
    Ok(())
}

/// A world, and what a scenario remembers of it.
struct Stage<'a, H> {
    make: &'a Make<'a, H>,
    world: World<H>,
    variables: BTreeMap<String, u16>,
    /// The last frame that somebody got.
    received: BTreeMap<String, Vec<u8>>,
}

impl<H: Played> Stage<'_, H> {
    fn play(&mut self, line: &str) -> Result<(), String> {
        match line.split_once("=>") {
            Some((sent, expected)) => self.send(sent, expected),
            None => self.control(line),
        }
    }

    /// The number that a word stands for.
    fn number(&self, word: &str) -> Result<u16, String> {
        match word.strip_prefix('$') {
            Some(_) => self.variables.get(word).copied().ok_or(format!("{word} has no value")),
            None => word.parse().map_err(|_| format!("'{word}' is no number")),
        }
    }

    /// A number that was seen is what a word stands for; a new variable takes its value.
    fn agree(&mut self, word: &str, seen: u16) -> Result<(), String> {
        if word.starts_with('$') && !self.variables.contains_key(word) {
            self.variables.insert(word.to_owned(), seen);
        }
        let expected = self.number(word)?;
        if expected == seen { Ok(()) } else { Err(format!("{word} is {expected}, not {seen}")) }
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), String> {
    if seen == expected {
        return Ok(());
    }
    Err(format!("{what}: seen {seen:?}, expected {expected:?}"))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    #[should_panic(expected = "line 3: g5 -> out udp 1001:80 => out from g5.snat:$p")]
    fn a_wrong_line_is_named() {
        check(
            "g5 -> out udp 1000:80 => out from g5.snat:$p
             # the next endpoint has another port
             g5 -> out udp 1001:80 => out from g5.snat:$p",
        );
    }

    #[test]
    #[should_panic(expected = "seen [\"out\"], expected [\"drop\", \"no_route\"]")]
    fn a_wrong_end_is_named() {
        check("g5 -> out udp 1000:80 => drop no_route");
    }
}
