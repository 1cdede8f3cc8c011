// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Domain names as DHCP sends them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A domain name: labels of 1 to 63 bytes, 253 bytes of text at most (RFC 1035, section 2.3.4).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DomainNameError {
    /// Over 253 bytes.
    #[error("a domain name has at most 253 characters")]
    TooLong,
    /// A label is empty or over 63 bytes.
    #[error("each label of a domain name has 1 to 63 characters")]
    Label,
    /// A character other than letters, digits, hyphen and underscore.
    #[error("a domain name has letters, digits, hyphens and dots only")]
    Character,
}

impl DomainName {
    /// The text without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The uncompressed wire form with its final zero byte (RFC 1035, section 3.1).
    pub fn encode(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.') {
            wire.push(label.len() as u8); // At most 63, checked on construction.
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > 253 {
            return Err(DomainNameError::TooLong);
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(DomainNameError::Label);
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                return Err(DomainNameError::Character);
            }
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for DomainName {
    type Error = DomainNameError;

    fn try_from(text: String) -> Result<Self, DomainNameError> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> String {
        name.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_wire_form() {
        let name: DomainName = "a.bc.".parse().unwrap();
        assert_eq!(name.encode(), b"\x01a\x02bc\0");
        let long_label = "x".repeat(64);
        for bad in ["", ".", "a..b", "a b", long_label.as_str()] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
        }
        assert!("abc.".repeat(64).parse::<DomainName>().is_err());
    }
}
