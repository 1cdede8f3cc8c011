// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Firewall rules as text: whatever is read as a rule is read again from what it is written as.

use oxide_vpc_api::FirewallRule;

/// Reads the data as rules, one a line.
pub fn rules(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        match line.parse::<FirewallRule>() {
            Ok(rule) => {
                assert_eq!(rule.validate(), Ok(()), "{line:?}");
                let again = rule.to_string();
                assert_eq!(again.parse().as_ref(), Ok(&rule), "{line:?} as {again:?}");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Rules of every kind.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "dir=in action=allow priority=100 hosts=subnet=10.0.0.0/8 protocol=tcp port=22,8000-8080\n",
        "dir=out action=reject priority=0 hosts=ip=fd00::1 protocol=icmp6:1-4,0-7\n",
        "DIR=in Action=Deny priority=7 hosts=vni=99 protocol=icmp:3 comment=Of dir=in, says Eve\n",
        "dir=in action=deny priority=7 protocol=132 uuid=f3b1a5ac-6a9a-4b1c-9a3e-0d4f3f7d6a01\n",
        "dir=out action=allow priority=65535 hosts=any protocol=any port=any comment=x\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
