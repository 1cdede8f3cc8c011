// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Which rule a file breaks.

use alloc::string::String;
use alloc::vec::Vec;

/// Why a file was not loaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// It cannot be read as what it should be.
    #[error("no module: {0}")]
    File(&'static str),
    /// A section is not as it must be.
    #[error("section {name}: {what}")]
    Section {
        /// Which one.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A name is not as it must be.
    #[error("symbol {name}: {what}")]
    Symbol {
        /// Which one.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An address that has to be written is not as it must be.
    #[error("relocation of kind {kind} at {place}, to {name}: {what}")]
    Relocation {
        /// Its number, see the AMD64 supplement of the System V ABI.
        kind: u32,
        /// Section and offset.
        place: String,
        /// Whose address.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The kernel does not have these names.
    #[error("nobody has {}", .0.join(", "))]
    Unresolved(Vec<String>),
    /// The caller's memory is too small, or not aligned.
    #[error("memory for {0} is too small or not aligned")]
    Memory(&'static str),
}

/// What the reader of files says.
impl From<object::Error> for Error {
    fn from(_: object::Error) -> Self {
        Self::File("a table of the file points outside of it")
    }
}
