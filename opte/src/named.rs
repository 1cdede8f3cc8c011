// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Enumerations of which each member has a name and a sentence: reasons, and what is counted.

/// Declares such an enumeration. A member's documentation is its sentence for an operator.
#[macro_export]
macro_rules! named {
    ($(#[doc = $about:literal])+ pub enum $enum:ident {
        $($(#[doc = $doc:literal])+ $member:ident = $name:literal),+ $(,)?
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        pub enum $enum { $($(#[doc = $doc])+ $member),+ }

        impl $enum {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$member),+];

            /// The name that counters, traces and dumps use.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$member => $name),+ }
            }

            /// One sentence for an operator.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$member => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}
