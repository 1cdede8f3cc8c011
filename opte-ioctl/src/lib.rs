// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The client of a host's packet engine: one handle, one typed call.
//!
//! ```no_run
//! use opte_ioctl::OpteHdl;
//! use oxide_vpc_api::request::ListPorts;
//!
//! let mut xde = OpteHdl::open()?;
//! for port in xde.request(&ListPorts {})? {
//!     println!("{} is {}", port.name, port.state);
//! }
//! # Ok::<(), opte_ioctl::Error>(())
//! ```
//!
//! From the top down: [`OpteHdl`] turns a request into a frame and an answer into a value;
//! `sys` reaches the platform's engine and carries one frame there and one back. Requests and
//! answers are defined in `oxide-vpc-api`, their frame in [`opte_api::frame`].
//!
//! Guarantees:
//!
//! * A request is sent at most once. Whatever fails, the caller decides whether to ask again. An
//!   answer for which there was too little room is fetched; its command is not carried out again.
//! * An answer belongs to the request before it: after a failure of the transport the connection
//!   is dropped, and the next request opens a new one.
//! * No claim of the other side is believed: sizes are bounded, memory grows with what really
//!   arrives, and waiting has an end.

#![deny(unsafe_code)]

mod error;
mod sys;

pub use error::Error;
pub use opte_api::frame::Request;

use error::undecodable;
use opte_api::OpteError;
use opte_api::frame::{self, API_VERSION, Fetch, Header, Kept, Status};
use oxide_vpc_api::PortName;
use oxide_vpc_api::dump::CounterSet;
use std::path::{Path, PathBuf};
use sys::Link;

/// Bytes of room for most answers, where room must be set aside before it is known how much.
const USUAL_ROOM: usize = 64 << 10;

/// A handle on the packet engine of this host.
#[derive(Debug)]
pub struct OpteHdl {
    path: PathBuf,
    /// `None` after the transport failed, until the next request.
    link: Option<Link>,
}

impl OpteHdl {
    /// Reaches the engine at the platform's usual place.
    ///
    /// On illumos this is `/dev/xde`. On Linux this is the socket named by the environment variable
    /// `XDE_SOCKET`, else `/run/xde.sock`.
    pub fn open() -> Result<Self, Error> {
        Self::open_at(sys::default_path())
    }

    /// Reaches the engine at `path`.
    pub fn open_at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let link = Some(connect(&path)?);
        Ok(Self { path, link })
    }

    /// Sends one request and waits for its answer.
    ///
    /// [`Error::Refused`] and [`Error::NotSent`] mean that nothing was changed. After any other
    /// error the request may or may not have been carried out.
    pub fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        let frame = frame::encode_request(request).map_err(Error::NotSent)?;
        let mut link = match self.link.take() {
            Some(link) => link,
            None => connect(&self.path)?,
        };
        let (mut header, mut body) = link.exchange(&frame, USUAL_ROOM)?;
        let kept = kept(header, &body)?;
        if let Some(Kept { ticket, len }) = kept {
            // The command was carried out; asking again would carry it out again.
            let fetch = frame::encode_fetch(Fetch { ticket }).map_err(undecodable)?;
            (header, body) = link.exchange(&fetch, len as usize)?;
        }
        self.link = Some(link);
        match decode_answer::<R>(header, &body) {
            Err(Error::Refused(why)) if kept.is_some() && header.code == Status::Refused as u16 => {
                told_late(why)
            }
            answer => answer,
        }
    }
}

/// The counters of one port, or of the host and all ports, from where everybody may read them; else
/// `None`, and one has to ask the engine.
///
/// On illumos these are the kernel's statistics, see kstat(8).
pub fn public_counters(port: Option<&PortName>) -> Option<Result<Vec<CounterSet>, Error>> {
    sys::public_counters(port)
}

/// Where the answer waits, if it did not fit.
fn kept(header: Header, body: &[u8]) -> Result<Option<Kept>, Error> {
    let kept = header.version == API_VERSION && header.code == Status::Kept as u16;
    kept.then(|| frame::decode(body)).transpose().map_err(undecodable)
}

/// What a refusal means that came when an answer was fetched: that answer itself, or that there is
/// none any more.
fn told_late<T>(why: OpteError) -> Result<T, Error> {
    match why {
        OpteError::NotFound { what, .. } if what == "kept answer" => Err(Error::AnswerLost),
        why => Err(Error::Refused(why)),
    }
}

fn connect(path: &Path) -> Result<Link, Error> {
    Link::open(path).map_err(|source| Error::Unreachable { path: path.into(), source })
}

/// Unlike [`frame::decode_answer`], tells an answer that makes no sense from a refusal.
fn decode_answer<R: Request>(header: Header, body: &[u8]) -> Result<R::Response, Error> {
    if header.version != API_VERSION {
        let plain = OpteError::other_version(API_VERSION, header.version);
        return Err(Error::Refused(match frame::decode(body) {
            Ok(told @ OpteError::BadApiVersion { client: API_VERSION, .. }) => told,
            _ => plain,
        }));
    }
    if header.code == Status::Done as u16 {
        frame::decode(body).map_err(undecodable)
    } else if header.code == Status::Refused as u16 {
        Err(frame::decode(body).map_or_else(undecodable, Error::Refused))
    } else {
        Err(Error::BadAnswer(format!("its status is {}", header.code)))
    }
}

#[cfg(test)]
mod tests;
