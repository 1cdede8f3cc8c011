// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Paths that flows share, so that each flow holds only what is its own.

use crate::host::{Host, Lock};
use crate::transform::Path;
use alloc::sync::Arc;
use foldhash::fast::FixedState;
use hashbrown::HashSet;

/// Paths that are known at once. Flows of further paths have one each, which costs memory and
/// nothing else: a guest that makes up addresses harms no other.
const LIMIT: usize = 1024;
/// Paths below which it is not worth looking for those that no flow has any more.
const FEW: usize = 64;

struct Known {
    paths: HashSet<Arc<Path>, FixedState>,
    /// When there are so many, those that no flow has any more are forgotten.
    tidy_at: usize,
}

/// The paths of a port.
pub struct Paths<H: Host>(H::Lock<Known>);

impl<H: Host> Paths<H> {
    /// No paths. A guest chooses some of what is hashed, hence the secret.
    pub fn new(seed: u64) -> Self {
        let paths = HashSet::with_hasher(FixedState::with_seed(seed.rotate_left(16)));
        Self(H::Lock::new(Known { paths, tidy_at: FEW }))
    }

    /// The path, shared with all who ask for an equal one.
    pub fn share(&self, path: Path) -> Arc<Path> {
        self.0.with(|known| {
            if let Some(shared) = known.paths.get(&path) {
                return shared.clone();
            }
            if known.paths.len() >= known.tidy_at {
                known.paths.retain(|path| Arc::strong_count(path) > 1);
                known.tidy_at = (known.paths.len() * 2).clamp(FEW, LIMIT);
            }
            let path = Arc::new(path);
            if known.paths.len() < LIMIT {
                known.paths.insert(path.clone());
            }
            path
        })
    }
}
