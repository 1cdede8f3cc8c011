// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What each command writes, as a table and as JSON, when a host gives the answers that are on
//! record (`tests/data/wire`). `opteadm/tests/data/output` has what is expected; with
//! `OPTEADM_OUTPUT_RECORD` set, it is written anew, to be read in the change.

use super::run;
use crate::cli::{Cli, shows};
use crate::console::{Console, Form, Xde};
use clap::{CommandFactory, Parser};
use opte_api::frame::decode;
use opte_ioctl::{Error, Request};
use oxide_vpc_api::request::COMMANDS;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The environment variable that asks for the expected outputs to be written.
const VARIABLE: &str = "OPTEADM_OUTPUT_RECORD";
/// Requests that one command sends at most here.
const MOST: usize = 8;

/// Stands in a line for the path of a file. One line writes it, a later one reads it.
const FILE: &str = "FILE";

/// A line for each request, in the least words.
const LINES: &[&str] = &[
    "create-xde opte0 --mac a8:40:25:f0:00:01 --vni 100 --underlay-ip fd00::1
         --private-ip6 fd12::5 --subnet6 fd12::/64",
    "delete-xde opte0",
    "list-ports",
    "set-xde-underlay net0",
    "clear-xde-underlay",
    "show-xde-underlay",
    "list-layers -p opte0",
    "dump-layer -p opte0 nat",
    "dump-uft -p opte0",
    "clear-uft -p opte0",
    "dump-tcp-flows -p opte0",
    "trace -p opte0 --dir out --proto udp --src 10.0.0.1 --dst 10.0.0.2",
    "kill-flow -p opte0 --port 53",
    "clear-lft -p opte0 nat",
    "stats",
    "add-fw-rule -p opte0 dir=in action=allow priority=1",
    "rm-fw-rule -p opte0 --dir in 7",
    "set-fw-rules -p opte0",
    "add-router-entry -p opte0 0.0.0.0/0 ig system",
    "del-router-entry -p opte0 0.0.0.0/0 ig system",
    "set-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2 100",
    "clear-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2 100",
    "dump-v2p",
    "set-v2b ::/0 fd00:b::1",
    "clear-v2b ::/0 fd00:b::1",
    "dump-v2b",
    "clear-external-ips -p opte0",
    "add-boundary-nat 10.0.0.1 fd00::1 100 a8:40:25:f0:00:01",
    "rm-boundary-nat 10.0.0.1 fd00::1 100 a8:40:25:f0:00:01",
    "list-boundary-nat",
    "attach-subnet -p opte0 10.44.0.0/24",
    "detach-subnet -p opte0 10.44.0.0/24",
    "allow-cidr -p opte0 10.44.0.0/24",
    "remove-cidr -p opte0 10.44.0.0/24",
    "list-prefixes -p opte0",
    "set-port-settings -p opte0 --default",
    "show-port-settings -p opte0",
    "set-mtu -p opte0 1400",
    "set-dhcp -p opte0",
    "set-underlay-address -p opte0 fd00::2",
    "start-port opte0",
    "pause-port opte0",
    "reset-port opte0",
    "add-router-entry -p opte0 ::/0 ig system --weight 9",
    "list-routes -p opte0",
    "set-routing -p opte0",
    "dump-gateways -p opte0",
    "set-m2p 239.1.1.1 ff04::1",
    "clear-m2p 239.1.1.1 ff04::1",
    "dump-m2p",
    "set-mcast-fwd ff04::1 fd00::2 both",
    "clear-mcast-fwd ff04::1",
    "dump-mcast-fwd",
    "mcast-subscribe -p opte0 239.1.1.1",
    "mcast-unsubscribe -p opte0 239.1.1.1",
    "mcast-unsubscribe-all 239.1.1.1",
    "dump-mcast-subs",
    "nat pools",
    "nat leases -p opte0",
    "plan -",
    "apply -",
    "drain -p opte0 --seconds 60 203.0.113.5",
    "save-port opte0 FILE",
    "restore-port FILE",
];

/// Standard input of a line that reads changes there.
fn input(line: &str) -> &'static str {
    if line.ends_with(" -") { "[]" } else { "" }
}

/// Each line sends a request, and each request has a line.
#[test]
fn every_request_has_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let sent: BTreeSet<u16> =
        lines().flat_map(|(_, line)| written(&line, Form::Table, folder.path()).1).collect();
    let missing: Vec<_> = COMMANDS.iter().filter(|(code, _)| !sent.contains(code)).collect();
    assert!(missing.is_empty(), "give each of these a command, and a line here: {missing:?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Gives the answers that are on record: to the first request the first one, and so on.
#[derive(Default)]
struct OnRecord {
    asked: Vec<u16>,
}

impl Xde for OnRecord {
    fn request<R: Request>(&mut self, _: &R) -> Result<R::Response, Error> {
        self.asked.push(R::CODE);
        assert!(self.asked.len() <= MOST, "{} is asked for ever: give its line a --limit", R::NAME);
        let path = root().join("../tests/data/wire").join(format!("{}.hex", R::NAME));
        let record = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; see CONTRIBUTING.md, Wire", R::NAME));
        let newest = record.rsplit("\nversion ").next().unwrap_or_default();
        let responses: Vec<&str> =
            newest.lines().filter_map(|line| line.strip_prefix("response")).collect();
        let response = responses.get(self.asked.len() - 1).or(responses.last());
        let digits = response.expect("a record has a response").trim().as_bytes();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let body: Vec<u8> = digits.chunks(2).map(byte).collect();
        Ok(decode(&body).unwrap_or_else(|error| panic!("{}: {error}", R::NAME)))
    }
}

/// What a line writes, and the requests that it sends.
fn written(line: &str, form: Form, folder: &Path) -> (String, Vec<u16>) {
    let file = folder.join(FILE);
    let word = |word| if word == FILE { file.as_os_str() } else { OsStr::new(word) };
    let words = std::iter::once("opteadm").chain(line.split_whitespace()).map(word);
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    let (mut xde, mut out) = (OnRecord::default(), Vec::new());
    let mut console =
        Console { xde: &mut xde, form, input: &mut input(line).as_bytes(), out: &mut out };
    run(cli.command, &mut console).unwrap_or_else(|error| panic!("{line}: {error}"));
    (String::from_utf8(out).unwrap(), xde.asked)
}

/// Lines with the end of what would be asked for page by page.
fn lines() -> impl Iterator<Item = (String, String)> {
    LINES.iter().map(|line| {
        let line: Vec<&str> = line.split_whitespace().collect();
        let name = line[0].to_owned();
        let command = Cli::command();
        let paged = command
            .find_subcommand(&name)
            .is_some_and(|command| command.get_arguments().any(|arg| arg.get_id() == "limit"));
        (name, line.join(" ") + if paged { " --limit 1" } else { "" })
    })
}

fn path(name: &str) -> PathBuf {
    root().join("tests/data/output").join(format!("{name}.txt"))
}

#[test]
fn every_command_writes_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, line) in lines() {
        let (table, _) = written(&line, Form::Table, folder.path());
        let (json, _) = written(&line, Form::Json, folder.path());
        if !json.is_empty() {
            serde_json::from_str::<serde_json::Value>(&json)
                .unwrap_or_else(|error| panic!("{line}: {error}: {json}"));
            assert_eq!(json.lines().count(), 1, "{line}: {json}");
        }
        let text = format!("$ opteadm {line}\n{table}\n$ opteadm {line} --json\n{json}");
        *texts.entry(name).or_default() += &text;
    }
    let mut wrong = Vec::new();
    for (name, text) in &texts {
        if std::env::var_os(VARIABLE).is_some() {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), text).unwrap();
        }
        let expected = fs::read_to_string(path(name)).unwrap_or_default();
        if *text != expected {
            wrong.push(format!("expected:\n{expected}\nbut written was:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nif that is meant, set {VARIABLE}=1", wrong.join("\n"));
    for file in fs::read_dir(path("x").parent().unwrap()).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(texts.contains_key(&name), "{name} is no command any more");
    }
}

/// A command either only shows, and may be watched, or its name says that it changes something.
#[test]
fn it_is_known_of_every_command_whether_it_changes_anything() {
    const CHANGING: &[&str] = &[
        "add", "allow", "apply", "attach", "clear", "create", "del", "delete", "detach", "drain",
        "kill", "mcast", "pause", "rem", "remove", "reset", "restore", "rm", "save", "set",
        "start",
    ];
    const SILENT: &[&str] = &["man", "completions", "help"];
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let verb = name.split('-').next().unwrap_or_default();
        let changes = CHANGING.contains(&verb);
        let known = SILENT.contains(&name) || changes != shows(name);
        assert!(known, "{name}: add it to SHOWING in cli.rs, or its verb to CHANGING here");
    }
}
