// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a guest may use besides its own addresses.

use super::{Show, table};
use oxide_vpc_api::Prefixes;
use std::io::{self, Write};

impl Show for Prefixes {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let attached = self
            .attached
            .iter()
            .map(|(subnet, how)| [subnet.to_string(), format!("attached, {how}"), "in,out".into()]);
        let transit = self.transit.iter().map(|(prefix, how)| {
            let directions = match (how.allow_in, how.allow_out) {
                (true, true) => "in,out",
                (true, false) => "in",
                (false, true) => "out",
                (false, false) => "",
            };
            [prefix.to_string(), "transit".into(), directions.into()]
        });
        table(out, ["PREFIX", "USE", "DIRECTIONS"], attached.chain(transit))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json_of, table_of};
    use super::*;
    use oxide_vpc_api::{Attachment, Transit};

    #[test]
    fn prefixes() {
        let in_only = Transit { allow_in: true, allow_out: false };
        let prefixes = Prefixes {
            attached: [("203.0.113.0/28".parse().unwrap(), Attachment::External)].into(),
            transit: [("10.0.0.0/8".parse().unwrap(), in_only)].into(),
        };
        assert_eq!(
            table_of(&prefixes),
            "PREFIX          USE                 DIRECTIONS\n\
             203.0.113.0/28  attached, external  in,out\n\
             10.0.0.0/8      transit             in\n"
        );
        assert_eq!(
            json_of(&prefixes),
            r#"{"attached":{"203.0.113.0/28":"external"},"transit":{"10.0.0.0/8":{"allow_in":true,"allow_out":false}}}"#
        );
    }
}
