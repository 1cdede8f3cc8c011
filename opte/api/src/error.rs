// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Errors of control requests, as they travel to the caller.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Who erred.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub enum ErrorSource {
    /// The request itself is wrong; sending it again cannot help.
    Caller,
    /// The request is right, but not in the present state.
    State,
    /// A limit is reached, or the host refused a resource.
    Resource,
}

/// Why a request was refused. A refused request has changed nothing.
///
/// Kinds are only ever added, and at the end: clients of all versions read those they know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error, Deserialize, Serialize)]
pub enum OpteError {
    /// The host does not serve the client's version.
    #[error(
        "client speaks API version {client}, host serves {oldest} to {newest}: \
         install matching versions"
    )]
    BadApiVersion {
        /// What the client sent.
        client: u16,
        /// The oldest version that the host serves.
        oldest: u16,
        /// The newest one.
        newest: u16,
    },
    /// No such command number.
    #[error("command {0} is unknown to this host")]
    UnknownCommand(u16),
    /// The body does not decode as the command's request.
    #[error("malformed request: {0}")]
    BadRequest(String),
    /// Over the size limit.
    #[error("message of {got} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes given or needed.
        got: u32,
        /// Bytes allowed.
        limit: u32,
    },
    /// A value in the request is not allowed.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// Which value.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// Something of that name does not exist.
    #[error("{what} '{name}' does not exist")]
    NotFound {
        /// Kind of object.
        what: String,
        /// Its name.
        name: String,
    },
    /// Something of that name is there already.
    #[error("{what} '{name}' exists already")]
    Exists {
        /// Kind of object.
        what: String,
        /// Its name.
        name: String,
    },
    /// Not now.
    #[error("not possible now: {0}")]
    BadState(String),
    /// A limit is reached.
    #[error("limit reached: {what} ({limit})")]
    Limit {
        /// Name of the limit.
        what: String,
        /// Its value.
        limit: u64,
    },
    /// The operating system refused.
    #[error("the host system refused: {0}")]
    System(String),
    /// Somebody else has changed something since.
    #[error("generation is {current} now, the change expects {expected}: plan it again")]
    Stale {
        /// Number of the change in force.
        current: u64,
        /// What the caller has expected.
        expected: u64,
    },
    /// A step of a change is refused, and with it the change.
    #[error("step {number} ({name}): {why}")]
    Step {
        /// Which step, counted from one.
        number: u32,
        /// The request that it is.
        name: String,
        /// Why it is refused.
        why: String,
    },
}

impl OpteError {
    /// Shorthand for [`OpteError::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl core::fmt::Display) -> Self {
        Self::Invalid { what: what.into(), why: alloc::format!("{why}") }
    }

    /// Shorthand for [`OpteError::NotFound`].
    pub fn not_found(what: impl Into<String>, name: impl core::fmt::Display) -> Self {
        Self::NotFound { what: what.into(), name: alloc::format!("{name}") }
    }

    /// Shorthand for [`OpteError::Exists`].
    pub fn exists(what: impl Into<String>, name: impl core::fmt::Display) -> Self {
        Self::Exists { what: what.into(), name: alloc::format!("{name}") }
    }

    /// What a client says of an answer in a version that it does not speak, and that says no more.
    pub const fn other_version(client: u16, host: u16) -> Self {
        Self::BadApiVersion { client, oldest: host, newest: host }
    }

    /// Who erred.
    pub const fn source(&self) -> ErrorSource {
        match self {
            Self::BadApiVersion { .. }
            | Self::UnknownCommand(_)
            | Self::BadRequest(_)
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Step { .. } => ErrorSource::Caller,
            Self::Stale { .. }
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::BadState(_) => ErrorSource::State,
            Self::Limit { .. } | Self::System(_) => ErrorSource::Resource,
        }
    }
}
