// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Fixed values of every message. Each command has its examples in a file of its topic.

use super::{changes, flows, moving, ports, routes};
use opte_api::OpteError;
use opte_api::frame::{
    Fetch, HEADER_LEN, Header, Kept, Request, encode_answer, encode_fetch, encode_kept,
    encode_request,
};
use serde::Serialize;
use std::fmt::{Debug, Write};
use std::str::FromStr;

/// Examples of one message.
#[derive(Clone, Debug)]
pub struct Example {
    /// Name of the message.
    pub name: &'static str,
    /// Its command number; what is no command has none.
    pub code: Option<u16>,
    /// The version that its form is of.
    pub since: u16,
    /// Bodies of requests.
    pub requests: Vec<Vec<u8>>,
    /// Bodies of answers.
    pub responses: Vec<Vec<u8>>,
}

impl Example {
    /// The examples as a record has them.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let requests = self.requests.iter().map(|body| ("request", body));
        let responses = self.responses.iter().map(|body| ("response", body));
        for (word, body) in requests.chain(responses) {
            lines += word;
            lines += if body.is_empty() { "" } else { " " };
            body.iter().for_each(|byte| write!(lines, "{byte:02x}").expect("text takes it"));
            lines += "\n";
        }
        lines
    }
}

/// Examples of a command. Several show all kinds of values that it may carry.
pub(super) fn example<R>(requests: Vec<R>, responses: Vec<R::Response>) -> Example
where
    R: Request + Debug + PartialEq,
{
    let requests: Vec<Vec<u8>> = requests
        .iter()
        .map(|request| {
            let body = body(&encode_request(request).expect("a small request"));
            assert_eq!(opte_api::frame::decode_request::<R>(&body).as_ref(), Ok(request));
            body
        })
        .collect();
    let responses = responses.into_iter().map(|response| answer(Ok(response))).collect();
    Example { name: R::NAME, code: Some(R::CODE), since: R::SINCE, requests, responses }
}

fn answer<T: Serialize>(answer: Result<T, OpteError>) -> Vec<u8> {
    body(&encode_answer(&answer))
}

fn body(frame: &[u8]) -> Vec<u8> {
    frame.get(HEADER_LEN..).expect("a frame").to_vec()
}

/// A value by its text.
pub(super) fn of<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a good text")
}

/// Examples of all messages.
pub fn all() -> Vec<Example> {
    let mut all = vec![header(), errors(), fetch()];
    all.extend(ports::examples());
    all.extend(ports::prefixes());
    all.extend(super::nat::pools());
    all.extend(ports::settings());
    all.extend(moving::moving());
    all.extend(flows::examples());
    all.extend(routes::examples());
    all.extend(routes::multicast());
    all.extend(changes::examples());
    all.extend(flows::traces());
    all
}

/// The header in front of every body.
fn header() -> Example {
    let header = Header { version: 0x0102, code: 0x0304, len: 0x0506_0708 };
    let requests = vec![header.to_bytes().to_vec()];
    Example { name: "Header", code: None, since: 1, requests, responses: Vec::new() }
}

/// An answer that waits, and how it is fetched.
fn fetch() -> Example {
    let requests = vec![body(&encode_fetch(Fetch { ticket: 300 }).expect("a small request"))];
    let responses = vec![body(&encode_kept(Kept { ticket: 300, len: 70_000 }))];
    Example { name: "Fetch", code: None, since: 2, requests, responses }
}

/// Every kind of refusal.
fn errors() -> Example {
    let errors = [
        OpteError::BadApiVersion { client: 9, oldest: 1, newest: 2 },
        OpteError::UnknownCommand(999),
        OpteError::BadRequest("why".into()),
        OpteError::TooLarge { got: 5_000_000, limit: 4_194_304 },
        OpteError::invalid("MTU", "why"),
        OpteError::not_found("port", "opte9"),
        OpteError::exists("port", "opte0"),
        OpteError::BadState("why".into()),
        OpteError::Limit { what: "ports".into(), limit: 4096 },
        OpteError::System("why".into()),
        OpteError::Stale { current: 7, expected: 5 },
        OpteError::Step { number: 3, name: "AddRoute".into(), why: "why".into() },
    ];
    let responses = errors.into_iter().map(|error| answer::<()>(Err(error))).collect();
    Example { name: "OpteError", code: None, since: ERRORS, requests: Vec::new(), responses }
}

/// Version of the form of refusals.
const ERRORS: u16 = 2;
