// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What one layer tells the next about a packet: typed slots of up to 128 bits.

use core::marker::PhantomData;

/// Number of slots.
pub const SLOTS: usize = 8;

/// A value that fits in a slot.
pub trait MetaValue: Copy {
    /// The value as bits.
    fn to_bits(self) -> u128;
    /// The value of these bits, which [`MetaValue::to_bits`] has made.
    fn from_bits(bits: u128) -> Self;
}

/// The name of a slot with the type of what is in it.
pub struct MetaKey<T> {
    slot: usize,
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for MetaKey<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MetaKey<T> {}

impl<T> MetaKey<T> {
    /// The key of slot `slot`. Checked when the constant is made.
    pub const fn new(slot: usize, name: &'static str) -> Self {
        assert!(slot < SLOTS, "no such slot");
        Self { slot, name, value: PhantomData }
    }

    /// The name that dumps show.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The key without its type.
    pub const fn slot(&self) -> Slot {
        Slot { index: self.slot, name: self.name }
    }
}

/// A key without its type, as predicates hold it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Slot {
    index: usize,
    name: &'static str,
}

impl Slot {
    /// Its number, below [`SLOTS`].
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The name that dumps show.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The slots of one packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    slots: [Option<u128>; SLOTS],
}

impl Meta {
    /// The value of a slot, if a layer has set it.
    pub fn get<T: MetaValue>(&self, key: MetaKey<T>) -> Option<T> {
        self.bits(key.slot()).map(T::from_bits)
    }

    /// Sets a slot.
    pub fn set<T: MetaValue>(&mut self, key: MetaKey<T>, value: T) {
        if let Some(slot) = self.slots.get_mut(key.slot) {
            *slot = Some(value.to_bits());
        }
    }

    /// The bits of a slot, if a layer has set it.
    pub fn bits(&self, slot: Slot) -> Option<u128> {
        self.bits_at(slot.index)
    }

    /// The bits of the slot of this number, if a layer has set it.
    pub fn bits_at(&self, index: usize) -> Option<u128> {
        self.slots.get(index).copied().flatten()
    }
}

macro_rules! meta_integers {
    ($($ty:ty),*) => {$(
        impl MetaValue for $ty {
            fn to_bits(self) -> u128 {
                self.into()
            }

            fn from_bits(bits: u128) -> Self {
                bits as $ty
            }
        }
    )*};
}

meta_integers!(u8, u16, u32, u64, u128);

impl MetaValue for opte_api::Vni {
    fn to_bits(self) -> u128 {
        self.get().into()
    }

    fn from_bits(bits: u128) -> Self {
        let [.., a, b, c] = bits.to_be_bytes();
        Self::from_bytes([a, b, c])
    }
}

impl MetaValue for core::net::IpAddr {
    fn to_bits(self) -> u128 {
        match self {
            Self::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            Self::V6(ip) => ip.to_bits(),
        }
    }

    fn from_bits(bits: u128) -> Self {
        core::net::Ipv6Addr::from_bits(bits).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn values_come_back_with_their_type() {
        const VNI: MetaKey<opte_api::Vni> = MetaKey::new(0, "vni");
        const TARGET: MetaKey<IpAddr> = MetaKey::new(7, "target");
        let mut meta = Meta::default();
        assert_eq!(meta.get(VNI), None);
        meta.set(VNI, opte_api::Vni::new(0xabcdef).unwrap());
        assert_eq!(meta.get(VNI).unwrap().get(), 0xabcdef);
        for text in ["10.1.2.3", "fd00::1"] {
            meta.set(TARGET, text.parse().unwrap());
            assert_eq!(meta.get(TARGET), Some(text.parse().unwrap()));
        }
    }
}
