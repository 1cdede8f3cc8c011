// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From the bytes of a request to the bytes of its answer.

use alloc::format;
use alloc::vec::Vec;
use opte_api::OpteError;
use opte_api::frame::{
    API_VERSION, Header, OLDEST_VERSION, Request, decode_request, encode_answer, with_version,
};
use oxide_vpc_api::{older, request};

/// Has a request served if its version of the command is known, and answers in that version. A
/// client of an older version is served wherever the command's form is still the same, or the older
/// one is known; what is not served is refused by name, with what is.
pub(crate) fn by_version(
    header: Header,
    body: &[u8],
    serve: impl FnOnce(Header, &[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let client = header.version;
    if !(OLDEST_VERSION..=API_VERSION).contains(&client) {
        let (oldest, newest) = (OLDEST_VERSION, API_VERSION);
        return refuse(OpteError::BadApiVersion { client, oldest, newest });
    }
    let serve = |body: &[u8]| serve(Header { version: API_VERSION, ..header }, body);
    let answer = match request::since(header.code).filter(|since| *since > client) {
        Some(since) => {
            older::serve(header, body, serve).unwrap_or_else(|| refuse(other_form(header, since)))
        }
        None => serve(body),
    };
    with_version(answer, client)
}

fn other_form(header: Header, since: u16) -> OpteError {
    let name = request::name(header.code).unwrap_or_default();
    let why = format!("{name} has another form since version {since}: install matching versions");
    OpteError::invalid(format!("API version {}", header.version), why)
}

/// The answer to a request that is refused.
pub(crate) fn refuse(error: OpteError) -> Vec<u8> {
    encode_answer::<()>(&Err(error))
}

/// Decodes a request, has it carried out, and encodes what came of it. Apart for each request, since
/// a kernel's stack is short and some requests are large.
#[inline(never)]
pub(crate) fn serve<R: Request>(
    body: &[u8],
    carry_out: impl FnOnce(R) -> Result<R::Response, OpteError>,
) -> Vec<u8> {
    encode_answer(&match decode_request(body) {
        Ok(request) => carry_out(request),
        Err(error) => Err(error),
    })
}
