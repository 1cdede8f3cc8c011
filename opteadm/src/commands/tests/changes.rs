// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Changes of many things at once.

use super::{check, check_error, check_input, of, port, typed};
use oxide_vpc_api::request::{Apply, Drain, Plan, SetFwRules};
use oxide_vpc_api::{DrainAddresses, Step};

#[test]
fn changes() {
    let text = r#"[{"SetFwRules": {"port": "opte0", "rules": []}},
        {"DrainAddresses": {"port": "opte0", "addresses": ["203.0.113.5"], "seconds": 600}}]"#;
    let drain = DrainAddresses { port: port(), addresses: vec![of("203.0.113.5")], seconds: 600 };
    let rules = SetFwRules { port: port(), rules: Vec::new() };
    let change: Vec<Step> = vec![rules.into(), drain.clone().into()];
    check_input("plan -", text, Plan { change: change.clone(), listed: 20 });
    check_input(
        "apply --expect 7 --list 3 -",
        text,
        Apply { change, expected: Some(7), listed: 3 },
    );
    check("drain -p opte0 --seconds 600 203.0.113.5", Drain { step: drain, listed: 20 });
    let (requests, error) = typed("plan -", r#"[{"Nonsense": {}}]"#);
    assert!(requests.is_empty() && error.contains('-'), "{error}");
    check_error("drain -p opte0 203.0.113.5", &["--seconds"]);
}
