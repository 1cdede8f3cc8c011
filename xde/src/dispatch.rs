// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From the bytes of a request to the bytes of its answer.

use alloc::vec::Vec;
use opte_api::OpteError;
use opte_api::frame::{API_VERSION, Header, Request, decode, encode_answer};

/// The answer to a client of another version.
pub(crate) fn refuse_version(header: Header) -> Option<Vec<u8>> {
    let (client, host) = (header.version, API_VERSION);
    (client != host).then(|| encode_answer::<()>(&Err(OpteError::BadApiVersion { client, host })))
}

/// Decodes a request, has it carried out, and encodes what came of it.
pub(crate) fn serve<R: Request>(
    body: &[u8],
    carry_out: impl FnOnce(R) -> Result<R::Response, OpteError>,
) -> Vec<u8> {
    encode_answer(&decode(body).and_then(carry_out))
}
