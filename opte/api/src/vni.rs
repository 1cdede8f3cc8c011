// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Virtual network identifiers.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A 24-bit virtual network identifier (RFC 8926, section 3.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

/// The number needs more than 24 bits, or is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a VNI is a number from 0 to 16777215")]
pub struct VniError;

impl Vni {
    /// The largest identifier.
    pub const MAX: u32 = 0xff_ffff;

    /// Checks that `number` fits in 24 bits.
    pub const fn new(number: u32) -> Result<Self, VniError> {
        if number <= Self::MAX { Ok(Self(number)) } else { Err(VniError) }
    }

    /// The identifier in the three bytes that stand in a Geneve header.
    pub const fn from_bytes(bytes: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
    }

    /// The three bytes for a Geneve header.
    pub const fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    /// The identifier as a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> Result<Self, VniError> {
        Self::new(number)
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl FromStr for Vni {
    type Err = VniError;

    fn from_str(text: &str) -> Result<Self, VniError> {
        text.parse().map_err(|_| VniError).and_then(Self::new)
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_24_bits() {
        assert_eq!(Vni::new(Vni::MAX).unwrap().to_bytes(), [0xff; 3]);
        assert_eq!(Vni::new(Vni::MAX + 1), Err(VniError));
        assert_eq!(Vni::from_bytes([0x13, 0xa5, 0x9d]).get(), 1_287_581);
    }
}
