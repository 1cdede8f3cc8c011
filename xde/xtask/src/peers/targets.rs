// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What this project is to reach, as ratios to its peers.

use crate::peers::peer::{Peer, Route};
use crate::peers::rows::{Better, Figure, Row};

/// A bound of a ratio ours/peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// To whom.
    pub peer: Peer,
    /// The bound.
    pub ratio: f64,
    /// Whether it is a lower or an upper bound.
    pub better: Better,
}

impl Target {
    /// Whether the ratio is good.
    pub fn is_met(&self, ratio: f64) -> bool {
        match self.better {
            Better::High => ratio >= self.ratio,
            Better::Low => ratio <= self.ratio,
        }
    }
}

/// The targets of a figure. The peers in user space are to be passed in every row; the kernel in
/// some.
pub fn targets(route: Route, figure: Figure) -> Vec<Target> {
    let Some(better) = figure.better else { return Vec::new() };
    let to = |peer, ratio| Target { peer, ratio, better };
    let kernel = match (route, figure.row, figure.part) {
        (Route::Inside, Row::UdpClean, _) | (Route::Inside, Row::UdpFlat, "delivered") => Some(1.5),
        (Route::Inside, Row::Tcp1 | Row::Tcp8, _) => Some(0.65),
        (Route::Outside, Row::Connect, _) => Some(0.5),
        (_, Row::Ping { pinned: true, .. }, "p50") => Some(2.0),
        _ => None,
    };
    let mut targets = vec![to(Peer::Ovs, 1.0), to(Peer::Vpp, 1.0)];
    targets.extend(kernel.map(|ratio| to(Peer::Kernel, ratio)));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(route: Route, row: Row) -> Vec<Target> {
        targets(route, row.figures()[0])
    }

    #[test]
    fn the_kernel_has_its_own_targets() {
        let kernel = |route, row| {
            let all = of(route, row);
            all.into_iter().find(|target| target.peer == Peer::Kernel)
        };
        let pinned = Row::Ping { tcp: true, pinned: true };
        let target = kernel(Route::Inside, pinned).unwrap();
        assert!(target.is_met(1.9) && !target.is_met(2.1));
        let target = kernel(Route::Outside, Row::Connect).unwrap();
        assert!(target.is_met(0.6) && !target.is_met(0.4));
        assert_eq!(kernel(Route::Inside, Row::Connect), None);
    }

    #[test]
    fn figures_that_explain_have_none() {
        for row in Row::ALL {
            for figure in row.figures() {
                let none = figure.better.is_none();
                assert_eq!(targets(Route::Outside, figure).is_empty(), none, "{figure}");
            }
        }
    }
}
