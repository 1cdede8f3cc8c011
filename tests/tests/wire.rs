// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The wire form of every message is the recorded one, and versions are served as they say.

use opte_api::OpteError;
use opte_api::frame::{
    API_VERSION, HEADER_LEN, Header, MAX_RESPONSE, OLDEST_VERSION, RELEASED_VERSION, Request,
    Status, decode, encode_request,
};
use opte_tests::hypervisor::{Agreeable, Hypervisor};
use opte_tests::setting::{Guest, add_guest};
use opte_tests::wire::record::{Record, VARIABLE, Versions};
use opte_tests::wire::{Example, all};
use oxide_vpc_api::V2pEntry;
use oxide_vpc_api::dump::PortInfo;
use oxide_vpc_api::request::{self, COMMANDS, DeletePort, DumpUft, DumpV2p, ListPorts};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use xde::driver::DriverOptions;

const VERSIONS: Versions = Versions { api: API_VERSION, released: RELEASED_VERSION };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/wire")
}

fn path(example: &Example) -> PathBuf {
    folder().join(format!("{}.hex", example.name))
}

fn record(example: &Example) -> Record {
    let Ok(text) = fs::read_to_string(path(example)) else { return Record::default() };
    Record::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", example.name))
}

#[test]
fn every_message_has_the_form_that_is_recorded() {
    let asked = std::env::var(VARIABLE).ok();
    if let Some(asked) = &asked {
        let expected = API_VERSION.to_string();
        assert_eq!(*asked, expected, "{VARIABLE} must say the version that the code speaks");
    }
    let mut wrong = Vec::new();
    for example in all() {
        let mut record = record(&example);
        let checked = match &asked {
            Some(_) => record.update(&example, VERSIONS),
            None => record.check(&example, VERSIONS),
        };
        match checked {
            Ok(()) if asked.is_some() => {
                fs::create_dir_all(folder()).unwrap();
                fs::write(path(&example), record.text(example.name)).unwrap();
            }
            Ok(()) => {}
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_command_has_examples() {
    let examples = all();
    let mut known = BTreeMap::new();
    for example in &examples {
        assert!(!example.requests.is_empty() || !example.responses.is_empty(), "{}", example.name);
        if let Some(code) = example.code {
            assert!(!example.requests.is_empty() && !example.responses.is_empty());
            assert!(known.insert(code, example.name).is_none(), "{} stands twice", example.name);
        }
    }
    let missing: Vec<_> = COMMANDS.iter().filter(|(code, _)| !known.contains_key(code)).collect();
    assert!(missing.is_empty(), "add examples of these in tests/src/wire: {missing:?}");
    let names: BTreeSet<String> = examples.iter().map(|example| example.name.into()).collect();
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name), "{name} is recorded but is no message any more");
    }
}

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(7));
    add_guest(&mut host, Guest(5), 0);
    host
}

fn ask(host: &mut Hypervisor, version: u16, code: u16, body: &[u8]) -> (Header, Vec<u8>) {
    let header = Header { version, code, len: body.len() as u32 };
    let answer = host.driver.control(&mut Agreeable, host.now, header, body);
    let (head, body) = answer.split_first_chunk::<HEADER_LEN>().unwrap();
    (Header::from_bytes(*head, MAX_RESPONSE).unwrap(), body.to_vec())
}

fn refusal((header, body): (Header, Vec<u8>)) -> OpteError {
    assert_eq!(header.code, Status::Refused as u16);
    decode(&body).unwrap()
}

#[test]
fn a_client_of_any_served_version_is_answered_in_its_own() {
    let mut host = host();
    for version in OLDEST_VERSION..=API_VERSION {
        let (header, body) = ask(&mut host, version, ListPorts::CODE, &[]);
        assert_eq!((header.version, header.code), (version, Status::Done as u16));
        assert_eq!(decode::<Vec<PortInfo>>(&body).unwrap().len(), 1);
    }
}

#[test]
fn a_version_that_is_not_served_is_refused_with_those_that_are() {
    let mut host = host();
    for client in [0, OLDEST_VERSION - 1, API_VERSION + 1, u16::MAX] {
        let error = refusal(ask(&mut host, client, ListPorts::CODE, &[]));
        let (oldest, newest) = (OLDEST_VERSION, API_VERSION);
        assert_eq!(error, OpteError::BadApiVersion { client, oldest, newest });
    }
}

/// Whoever speaks an older version is served by it, or is told which command has changed; never is
/// a request read as what it is not.
#[test]
fn a_form_of_another_version_is_never_misread() {
    let mut host = host();
    for (code, name) in COMMANDS {
        let since = request::since(*code).unwrap();
        assert!((OLDEST_VERSION..=API_VERSION).contains(&since), "{name}");
        for version in OLDEST_VERSION..since {
            let error = refusal(ask(&mut host, version, *code, &[0xff; 3])).to_string();
            assert!(error.contains(name), "{name} of version {version}: {error}");
        }
    }
}

#[test]
fn what_a_host_does_not_know_is_refused_by_name() {
    let mut host = host();
    for version in OLDEST_VERSION..=API_VERSION {
        let error = refusal(ask(&mut host, version, 9999, &[]));
        assert_eq!(error, OpteError::UnknownCommand(9999));
    }
    // A field that only a newer version has.
    let frame = encode_request(&DeletePort { name: Guest(5).port() }).unwrap();
    let body = [&frame[HEADER_LEN..], &[1]].concat();
    let error = refusal(ask(&mut host, API_VERSION, DeletePort::CODE, &body)).to_string();
    assert!(error.contains("DeletePort: 1 bytes follow the last field"), "{error}");
    let unknown = serde_json::from_str::<DeletePort>(r#"{"name":"opte0","force":true}"#);
    assert!(unknown.unwrap_err().to_string().contains("unknown field `force`"));
}

/// What was recorded when version 1 was released is still served, or refused by name.
#[test]
fn recorded_requests_of_older_versions_are_served_or_refused_by_name() {
    let (mut served, mut refused) = (0, 0);
    for example in all() {
        let Some(code) = example.code else { continue };
        let record = record(&example);
        let Some(form) = record.form(OLDEST_VERSION) else { continue };
        for line in form.lines().filter_map(|line| line.strip_prefix("request")) {
            let digits = line.trim().as_bytes().chunks(2);
            let byte =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            let body: Vec<u8> = digits.map(byte).collect();
            let (header, answer) = ask(&mut host(), OLDEST_VERSION, code, &body);
            assert_eq!(header.version, OLDEST_VERSION, "{}", example.name);
            if header.code == Status::Done as u16 {
                served += 1;
                continue;
            }
            // Whatever else is wrong with it, it was read.
            match decode(&answer).unwrap() {
                OpteError::BadRequest(why) => panic!("{}: {why}", example.name),
                error if error.to_string().contains("has another form") => {
                    assert!(error.to_string().contains(example.name), "{error}");
                    refused += 1;
                }
                _ => served += 1,
            }
        }
    }
    assert!(served > refused, "{served} served, {refused} refused");
}

/// An older client gets the answer in the form that it knows.
#[test]
fn dumps_answer_an_older_client_in_its_form() {
    #[derive(serde::Deserialize, Debug)]
    struct FlowTable1 {
        limit: u32,
        flows: Vec<u8>,
    }
    let mut host = host();
    let name = Guest(5).port().to_string();
    let body = [&[name.len() as u8][..], name.as_bytes()].concat();
    let (header, answer) = ask(&mut host, 1, DumpUft::CODE, &body);
    assert_eq!((header.version, header.code), (1, Status::Done as u16));
    let table: FlowTable1 = decode(&answer).unwrap();
    assert!(table.limit > 0 && table.flows.is_empty(), "{table:?}");

    let (_, answer) = ask(&mut host, 1, DumpV2p::CODE, &[]);
    let entries: Vec<V2pEntry> = decode(&answer).unwrap();
    assert_eq!(entries, host.request(&DumpV2p::default()).unwrap().entries);
    // A refusal is the same in all versions.
    let missing = ask(&mut host, 1, DumpUft::CODE, b"\x05opte9");
    assert_eq!(refusal(missing), OpteError::not_found("port", "opte9"));
}
