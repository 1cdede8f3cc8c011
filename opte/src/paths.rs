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

#[derive(Default)]
struct Known {
    paths: HashSet<Arc<Path>, FixedState>,
    /// Paths that were asked for and not known since those were forgotten that no flow has any
    /// more: as many as there are to be looked at, so each pays for one.
    unknown: usize,
    unshared: u64,
}

/// The paths of a port.
pub struct Paths<H: Host>(H::Lock<Known>);

impl<H: Host> Paths<H> {
    /// No paths. A guest chooses some of what is hashed, hence the secret.
    pub fn new(seed: u64) -> Self {
        let paths = HashSet::with_hasher(FixedState::with_seed(seed.rotate_left(16)));
        Self(H::Lock::new(Known { paths, ..Known::default() }))
    }

    /// The path, shared with all who ask for an equal one.
    pub fn share(&self, path: Path) -> Arc<Path> {
        self.0.with(|known| {
            if let Some(shared) = known.paths.get(&path) {
                return shared.clone();
            }
            known.unknown += 1;
            if known.unknown >= known.paths.len().max(FEW) {
                known.paths.retain(|path| Arc::strong_count(path) > 1);
                known.unknown = 0;
            }
            let path = Arc::new(path);
            if known.paths.len() < LIMIT {
                known.paths.insert(path.clone());
            } else {
                known.unshared += 1;
            }
            path
        })
    }

    /// Paths that were not shared, because there were too many.
    pub fn unshared(&self) -> u64 {
        self.0.with(|known| known.unshared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::HeaderEdit;
    use crate::flow_table::testing::StdHost;
    use crate::geneve::Mark;
    use crate::headers::Headers;
    use crate::transform::Transform;
    use alloc::vec::Vec;

    /// The transform of frames from the MAC address with this number.
    fn compile(paths: &Paths<StdHost>, number: u16) -> Transform {
        let [high, low] = number.to_be_bytes();
        let mut frame = alloc::vec![2, 2, 2, 2, 2, 2, 2, 2, 2, 2, high, low];
        frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2, 0, 8, 0, 0]);
        let headers = Headers::parse(&frame, frame.len(), 0, Mark::GUEST).unwrap();
        let key = *headers.key().unwrap();
        Transform::compile(&HeaderEdit::NONE, &key, &headers, |path| paths.share(path))
    }

    #[test]
    fn too_many_are_not_shared_and_counted_until_flows_end() {
        let paths = Paths::<StdHost>::new(1);
        let many = LIMIT as u16 + 100;
        let held: Vec<Transform> = (0..many).map(|number| compile(&paths, number)).collect();
        assert_eq!(paths.unshared(), 100);
        let again: Vec<Transform> = (0..many).map(|number| compile(&paths, number)).collect();
        assert_eq!(paths.unshared(), 200);
        drop((held, again));
        (0..2 * many).for_each(|number| drop(compile(&paths, 20_000 + number)));
        let before = paths.unshared();
        (0..2 * many).for_each(|number| drop(compile(&paths, 40_000 + number)));
        assert_eq!(paths.unshared(), before, "what no flow has any more makes room");
    }
}
