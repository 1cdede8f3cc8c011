// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What can go wrong on the way to the engine and back.

use opte_api::OpteError;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why there is no answer, or a refusal. Each text says who erred and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody could be asked.
    #[error("cannot reach xde at {}: {}", path.display(), advice(source))]
    Unreachable {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side went away.
    #[error(
        "xde closed the connection before it answered: read its log, then check whether the \
         command took effect"
    )]
    Closed,
    /// The other side is silent.
    #[error(
        "xde did not answer in time: see whether it is overloaded or stopped, then check whether \
         the command took effect"
    )]
    TimedOut,
    /// The transport failed in another way.
    #[error("the connection to xde failed ({0}): check whether the command took effect")]
    Io(#[source] io::Error),
    /// The answer is not what this version of the protocol says it must be.
    #[error("xde sent an answer that cannot be read ({0}): install matching versions")]
    BadAnswer(String),
    /// The answer was larger than the room for it, and others have taken its place since.
    #[error("xde carried the command out, but its answer is gone: look at what it did")]
    AnswerLost,
    /// The request cannot be put into a frame, so nothing was sent.
    #[error("the request was not sent: {0}")]
    NotSent(#[source] OpteError),
    /// The engine refused the request; it has changed nothing.
    #[error("{0}")]
    Refused(#[source] OpteError),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Self::Closed
            }
            // A socket's timeout is reported as either of these (POSIX, SO_RCVTIMEO: EAGAIN).
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

/// An answer that does not decode.
pub(crate) fn undecodable(error: OpteError) -> Error {
    Error::BadAnswer(match error {
        OpteError::BadRequest(why) => why,
        other => other.to_string(),
    })
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => crate::sys::ABSENT.into(),
        ErrorKind::ConnectionRefused => {
            "the socket is there but nobody listens; is the daemon running? Start it".into()
        }
        ErrorKind::PermissionDenied => "permission denied; ask as root".into(),
        _ => error.to_string(),
    }
}
