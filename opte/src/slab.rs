// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Objects with small numbers, in chunks that never move.

use alloc::boxed::Box;
use alloc::vec::Vec;

const CHUNK: usize = 64;

/// A store of `T` by number. Growth allocates a chunk; nothing is copied.
pub struct Slab<T> {
    chunks: Vec<Box<[Option<T>; CHUNK]>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores `value`; answers its number. `None` when numbers run out.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        if self.free.is_empty() {
            let first = u32::try_from(self.chunks.len() * CHUNK).ok()?;
            self.chunks.push(Box::new([const { None }; CHUNK]));
            self.free.extend((first..first.checked_add(CHUNK as u32)?).rev());
        }
        let id = self.free.pop()?;
        *self.place(id)? = Some(value);
        Some(id)
    }

    /// Takes the object out.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        let value = self.place(id)?.take()?;
        self.free.push(id);
        Some(value)
    }

    /// The object of this number.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&T> {
        self.chunks.get(id as usize / CHUNK)?.get(id as usize % CHUNK)?.as_ref()
    }

    /// The object of this number, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.place(id)?.as_mut()
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    #[inline]
    fn place(&mut self, id: u32) -> Option<&mut Option<T>> {
        self.chunks.get_mut(id as usize / CHUNK)?.get_mut(id as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_map(steps in proptest::collection::vec((any::<bool>(), 0u32..200), 0..400)) {
            let mut slab = Slab::default();
            let mut model = BTreeMap::new();
            for (insert, value) in steps {
                if insert {
                    let id = slab.insert(value).unwrap();
                    prop_assert!(model.insert(id, value).is_none());
                } else {
                    prop_assert_eq!(slab.remove(value), model.remove(&value));
                }
                prop_assert_eq!(slab.iter().count(), model.len());
                prop_assert!(model.iter().all(|(id, value)| slab.get(*id) == Some(value)));
            }
        }
    }
}
