// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The lab as a picture, and the way into it.

use crate::lab::Lab;
use crate::lab::topology::{
    BOUNDARY, BOUNDARY_OUTSIDE, GUESTS, HYPERVISORS, ROUTER, UNDERLAY_MTU, VNI, WEBS, namespaces,
};
use std::fmt::Write;

/// Columns of a box, without its borders.
const WIDTH: usize = 26;

/// The topology with its addresses.
pub fn topology() -> String {
    let mut text = String::new();
    let line = |text: &mut String, line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let webs: Vec<Vec<String>> = WEBS.iter().map(|web| named(web.name, &web.addresses)).collect();
    boxes(&webs).iter().for_each(|row| line(&mut text, row));
    line(&mut text, &format!("{:14}└──────────────┬──────────────┘", ""));
    let middle = |text: &mut String, rows: Vec<String>| {
        boxes(&[rows]).iter().for_each(|row| line(text, &format!("{:15}{row}", "")));
    };
    let mut router = named(ROUTER.name, &ROUTER.addresses);
    router[0] += ", the outside router";
    middle(&mut text, router);
    line(&mut text, &format!("{:29}│  the outside", ""));
    let mut boundary = named(BOUNDARY.name, &[BOUNDARY_OUTSIDE[0], BOUNDARY.underlay]);
    boundary[0] += ", xde boundary";
    middle(&mut text, boundary);
    line(&mut text, &format!("{:29}│  underlay: Geneve over IPv6, MTU {UNDERLAY_MTU}", ""));
    line(&mut text, &format!("{:14}┌──────────────┴──────────────┐", ""));
    let hosts: Vec<Vec<String>> = HYPERVISORS
        .iter()
        .map(|host| {
            let mut rows = named(host.name, &[host.underlay]);
            rows[0] += ", xde";
            rows
        })
        .collect();
    boxes(&hosts).iter().for_each(|row| line(&mut text, row));
    let columns = HYPERVISORS.map(|host| {
        let on_host = GUESTS.iter().filter(move |guest| guest.host.name == host.name);
        on_host.map(|guest| format!("└ {} {} {}", guest.name, guest.ip4, guest.ip6)).collect()
    });
    beside(&columns).iter().for_each(|row| line(&mut text, row));
    line(&mut text, &format!("{:20}guests of one VPC, VNI {VNI}", ""));
    text
}

fn named(name: &str, addresses: &[&str]) -> Vec<String> {
    [name].iter().chain(addresses).map(|&row| row.to_owned()).collect()
}

/// Boxes side by side.
fn boxes(columns: &[Vec<String>]) -> Vec<String> {
    let framed: Vec<Vec<String>> = columns
        .iter()
        .map(|rows| {
            let rule = "─".repeat(WIDTH);
            let inner = rows.iter().map(|row| format!("│ {row:w$}│", w = WIDTH - 1));
            [format!("┌{rule}┐")].into_iter().chain(inner).chain([format!("└{rule}┘")]).collect()
        })
        .collect();
    beside(&framed)
}

/// Columns of text side by side.
fn beside(columns: &[Vec<String>]) -> Vec<String> {
    let height = columns.iter().map(Vec::len).max().unwrap_or_default();
    (0..height)
        .map(|at| {
            let cell = |rows: &Vec<String>| rows.get(at).cloned().unwrap_or_default();
            columns.iter().map(|rows| format!("{:w$}  ", cell(rows), w = WIDTH + 2)).collect()
        })
        .collect()
}

/// What a user can do with a lab that is left up.
pub fn how_to_enter(lab: &Lab) -> String {
    let names: Vec<&str> = namespaces().collect();
    let mut text = String::from("\nThe lab is up. Enter a machine of it, for instance:\n");
    let example = |text: &mut String, what: &str| writeln!(text, "  {what}").ok();
    example(&mut text, &format!("ip netns exec {} bash", lab.net.netns(GUESTS[0].name)));
    let opteadm = lab.opteadm(HYPERVISORS[0].name, &["dump-uft", "-p", GUESTS[0].name]);
    example(&mut text, &opteadm.to_string());
    writeln!(text, "Machines: {} (each with the prefix {}-).", names.join(", "), lab.sandbox.run())
        .ok();
    text + "Remove it with `cargo xtask lab clean`."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_in_the_picture() {
        let picture = topology();
        println!("{picture}");
        for guest in &GUESTS {
            assert!(picture.contains(guest.ip4), "{}", guest.name);
        }
        for web in &WEBS {
            assert!(picture.contains(web.addresses[1]), "{}", web.name);
        }
        assert!(picture.lines().all(|line| line.chars().count() <= 80));
    }
}
