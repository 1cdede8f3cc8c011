// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What has become of a saved port.

use super::Show;
use oxide_vpc_api::request::Restored;
use std::io::{self, Write};

impl Show for Restored {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "restored port {} with {} flows", self.port, self.flows)
    }
}
