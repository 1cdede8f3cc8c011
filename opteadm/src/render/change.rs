// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Answers to requests that change something.

use super::Show;
use oxide_vpc_api::request::Removal;
use serde::Serialize;
use serde_json::json;
use std::io::{self, Write};

/// The number that a new rule was given.
#[derive(Serialize)]
pub struct AddedRule {
    /// The number.
    pub id: u64,
}

impl Show for AddedRule {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "added rule {}", self.id)
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", json!({ "result": "ok", "id": self.id }))
    }
}

/// People read silence as success.
impl Show for () {
    fn write_table(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", json!({ "result": "ok" }))
    }
}

/// What is gone already is no error: a second removal of the same thing succeeds.
impl Show for Removal {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(match self {
            Self::Removed => b"removed\n",
            Self::Absent => b"absent: there was nothing to remove\n",
        })
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", json!({ "result": self }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{json_of, table_of};
    use super::*;

    #[test]
    fn every_change_says_how_it_went() {
        assert_eq!(json_of(&()), r#"{"result":"ok"}"#);
        assert_eq!(json_of(&Removal::Removed), r#"{"result":"removed"}"#);
        assert_eq!(json_of(&Removal::Absent), r#"{"result":"absent"}"#);
        assert_eq!(json_of(&AddedRule { id: 7 }), r#"{"id":7,"result":"ok"}"#);
        assert_eq!(table_of(&()), "");
        assert_eq!(table_of(&AddedRule { id: 7 }), "added rule 7\n");
        assert!(table_of(&Removal::Absent).starts_with("absent"));
    }
}
