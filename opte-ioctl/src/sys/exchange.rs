// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! One frame there, one frame back, over any stream.

use crate::Error;
use crate::error::undecodable;
use opte_api::frame::{HEADER_LEN, Header, MAX_RESPONSE};
use std::io::{Read, Write};

/// Sends a whole request frame and reads a whole answer frame.
pub(crate) fn exchange(
    stream: &mut (impl Read + Write),
    request: &[u8],
) -> Result<(Header, Vec<u8>), Error> {
    let sent = stream.write_all(request).map_err(Error::from);
    match sent {
        Ok(()) => read_answer(stream),
        // A host that refuses early (a version, a size) answers and closes without reading the
        // rest. Its answer says more than the failed write.
        Err(Error::Closed) => read_answer(stream),
        Err(error) => Err(error),
    }
}

fn read_answer(stream: &mut impl Read) -> Result<(Header, Vec<u8>), Error> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head)?;
    let header = Header::from_bytes(head, MAX_RESPONSE).map_err(undecodable)?;
    // The vector grows with what arrives, not with what the header claims.
    let mut body = Vec::new();
    stream.take(header.len.into()).read_to_end(&mut body)?;
    if body.len() < header.len as usize { Err(Error::Closed) } else { Ok((header, body)) }
}
