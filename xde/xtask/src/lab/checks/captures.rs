// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What another reader makes of all packets so far. It stands before those checks that send
//! nonsense on purpose.

use super::Check;
use crate::lab::Lab;
use anyhow::{Result, ensure};

pub const CHECKS: &[Check] = &[Check {
    group: "Operating",
    name: "malformed",
    title: "tshark finds no malformed packet",
    needs: &[],
    run: malformed,
}];

fn malformed(lab: &mut Lab) -> Result<String> {
    let fields = ["frame.number", "frame.protocols", "_ws.expert.message"];
    for (name, capture) in &lab.captures {
        let found = capture.find("_ws.malformed", &fields)?;
        ensure!(found.is_empty(), "{name}: {} malformed, such as {:?}", found.len(), found.first());
    }
    Ok(format!("{} captures", lab.captures.len()))
}
