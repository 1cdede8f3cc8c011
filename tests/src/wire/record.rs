// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The record of one message: what is checked against it, and when it may be changed.

use super::Example;
use std::fmt::Write;

/// The environment variable that asks for records to be changed; its value must be the version
/// that the code speaks, and that version must be newer than any released one.
pub const VARIABLE: &str = "OPTE_WIRE_RECORD";

/// Versions that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    /// What the code speaks.
    pub api: u16,
    /// The newest that was released.
    pub released: u16,
}

/// The forms that a message had, oldest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    forms: Vec<(u16, String)>,
}

impl Record {
    /// Reads a record.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut forms: Vec<(u16, String)> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(version) = line.strip_prefix("version ") {
                let version = version.parse().map_err(|_| format!("no version: {line}"))?;
                if forms.last().is_some_and(|(last, _)| *last >= version) {
                    return Err(format!("version {version} is out of order"));
                }
                forms.push((version, String::new()));
            } else {
                let (_, form) = forms.last_mut().ok_or("a version must stand first")?;
                writeln!(form, "{line}").map_err(|error| error.to_string())?;
            }
        }
        Ok(Self { forms })
    }

    /// The record as a file.
    pub fn text(&self, name: &str) -> String {
        let mut text =
            format!("# Wire form of {name} by version; see CONTRIBUTING.md, \"Wire\".\n");
        for (version, form) in &self.forms {
            text += &format!("version {version}\n{form}");
        }
        text
    }

    /// The lines of the form that clients of `version` use.
    pub fn form(&self, version: u16) -> Option<&str> {
        let known = self.forms.iter().rev().find(|(since, _)| *since <= version);
        known.map(|(_, form)| form.as_str())
    }

    /// Says what is wrong with an example by this record, and what to do.
    pub fn check(&self, example: &Example, versions: Versions) -> Result<(), String> {
        let (name, since) = (example.name, example.since);
        let todo = todo(example, versions);
        match self.forms.last() {
            None => Err(format!("{name} is not recorded: {todo}")),
            Some((_, form)) if *form != example.lines() => {
                Err(format!("{name} has another wire form than the recorded one: {todo}"))
            }
            Some((version, _)) if *version != since => Err(format!(
                "{name} is recorded with version {version}, but says that its form is of version \
                 {since}: put 'since {version}' behind its name in request.rs"
            )),
            Some(_) => Ok(()),
        }
    }

    /// Takes the example's form into the record.
    pub fn update(&mut self, example: &Example, versions: Versions) -> Result<(), String> {
        if self.check(example, versions).is_ok() {
            return Ok(());
        }
        let Versions { api, released } = versions;
        if let Some((version, form)) = self.forms.last_mut()
            && *version == example.since
            && extends(&example.lines(), form)
        {
            *form = example.lines();
            return Ok(());
        }
        if api <= released {
            return Err(format!(
                "version {api} is released: step API_VERSION in opte/api/src/frame.rs first"
            ));
        }
        if example.since <= released || example.since > api {
            return Err(format!("{}: {}", example.name, todo(example, versions)));
        }
        self.forms.retain(|(version, _)| *version <= released);
        self.forms.push((example.since, example.lines()));
        Ok(())
    }
}

/// The lines hold all the known ones in their order: there are more examples of the same form.
fn extends(lines: &str, known: &str) -> bool {
    let mut lines = lines.lines();
    known.lines().all(|known| lines.any(|line| line == known))
}

fn todo(example: &Example, Versions { api, released }: Versions) -> String {
    let api = if api > released { api } else { released + 1 };
    let step = match example.since {
        since if since == api => String::new(),
        _ if example.code.is_none() => format!("step its version in tests/src/wire to {api}, "),
        _ => format!("put 'since {api}' behind its name in oxide-vpc/api/src/request.rs, "),
    };
    format!(
        "if that is meant, let API_VERSION be {api} (opte/api/src/frame.rs), {step}say in CHANGELOG.md \
         what changed, and run '{VARIABLE}={api} cargo test -p opte-tests --test wire'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(since: u16, request: &str) -> Example {
        let requests = vec![request.as_bytes().to_vec()];
        Example { name: "Ping", code: Some(7), since, requests, responses: vec![vec![0]] }
    }

    const RELEASED: Versions = Versions { api: 1, released: 1 };
    const NEXT: Versions = Versions { api: 2, released: 1 };

    fn recorded() -> Record {
        let mut record = Record::default();
        record.update(&example(1, "a"), Versions { api: 1, released: 0 }).unwrap();
        record
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = recorded();
        assert_eq!(Record::parse(&record.text("Ping")), Ok(record.clone()));
        record.update(&example(2, "b"), NEXT).unwrap();
        assert_eq!(Record::parse(&record.text("Ping")), Ok(record.clone()));
        assert_eq!(record.form(1), Some("request 61\nresponse 00\n"));
        assert_eq!(record.form(9), Some("request 62\nresponse 00\n"));
        assert_eq!(record.form(0), None);
        for bad in ["request 61", "version x", "version 2\nversion 2", "version 2\nversion 1"] {
            assert!(Record::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_form_is_noticed_and_needs_a_newer_version() {
        let record = recorded();
        assert_eq!(record.check(&example(1, "a"), RELEASED), Ok(()));
        let changed = record.check(&example(1, "b"), RELEASED).unwrap_err();
        assert!(changed.contains("another wire form") && changed.contains("since 2"), "{changed}");
        // Neither the command alone nor the version alone can be stepped.
        let mut next = record.clone();
        assert!(next.update(&example(1, "b"), RELEASED).is_err());
        assert!(next.update(&example(2, "b"), RELEASED).unwrap_err().contains("step API_VERSION"));
        assert!(next.update(&example(1, "b"), NEXT).unwrap_err().contains("since 2"));
        assert!(next.update(&example(3, "b"), NEXT).is_err());
        assert_eq!(next, record, "what was refused has changed nothing");
        next.update(&example(2, "b"), NEXT).unwrap();
        assert_eq!(next.check(&example(2, "b"), NEXT), Ok(()));
        assert_eq!(next.form(1), record.form(1), "the released form stays");
    }

    #[test]
    fn a_form_that_is_not_released_may_change_again() {
        let mut record = recorded();
        record.update(&example(2, "b"), NEXT).unwrap();
        assert!(record.check(&example(2, "c"), NEXT).is_err());
        record.update(&example(2, "c"), NEXT).unwrap();
        assert_eq!(record.form(2), Some("request 63\nresponse 00\n"));
        // Not once it is.
        assert!(record.update(&example(2, "d"), Versions { api: 2, released: 2 }).is_err());
    }

    #[test]
    fn more_examples_of_a_form_need_no_newer_version() {
        let mut record = recorded();
        let mut more = example(1, "a");
        more.requests.push(b"b".to_vec());
        assert!(record.check(&more, RELEASED).is_err(), "they are to be recorded, too");
        record.update(&more, RELEASED).unwrap();
        assert_eq!(record.form(1), Some("request 61\nrequest 62\nresponse 00\n"));
        assert!(record.update(&example(1, "a"), RELEASED).is_err(), "none may be left out");
    }

    #[test]
    fn what_is_not_recorded_and_what_says_another_version_is_noticed() {
        let missing = Record::default().check(&example(2, "a"), NEXT).unwrap_err();
        assert!(missing.contains("is not recorded"), "{missing}");
        let wrong = recorded().check(&example(2, "a"), NEXT).unwrap_err();
        assert!(wrong.contains("'since 1'"), "{wrong}");
    }
}
