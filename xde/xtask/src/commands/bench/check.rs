// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The figures in the tree, and how a fresh run differs from them.
//!
//! There are only ratios of figures of one run, bytes and counts, which hardly depend on the
//! machine. What differs by more than [`TOLERANCE`], better or worse, has to be looked at, and
//! then saved.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// How far a number may move, as a share of what it was.
const TOLERANCE: f64 = 0.15;

/// Numbers by name.
type Numbers = BTreeMap<String, f64>;

/// What `bench/summary.json` holds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// Of the engine.
    engine: Numbers,
    /// Of the lab: this program's throughput over that of others.
    #[serde(default)]
    peers: Numbers,
}

/// A number that is not what it was.
#[derive(Clone, Debug, PartialEq)]
struct Moved {
    name: String,
    before: Option<f64>,
    now: Option<f64>,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        let percent = self.before.zip(self.now).filter(|(before, _)| *before != 0.0);
        let percent = percent.map_or(String::new(), |(before, now)| {
            format!("{:+.0} %", 100.0 * (now / before - 1.0))
        });
        write!(f, "{:62} {:>8} {:>8} {percent:>7}", self.name, text(self.before), text(self.now))
    }
}

impl Summary {
    /// The engine's numbers of a run, and those of a file about other programs.
    pub fn new(engine: Numbers, peers: Option<&Path>) -> Result<Self> {
        let peers = match peers {
            None => Numbers::new(),
            Some(path) => {
                let shown = path.display();
                let text = fs::read_to_string(path).with_context(|| shown.to_string())?;
                let value: Value =
                    serde_json::from_str(&text).with_context(|| shown.to_string())?;
                let peers = peer_ratios(&value);
                ensure!(!peers.is_empty(), "{shown}: there is no ratio in it");
                peers
            }
        };
        Ok(Self { engine, peers })
    }

    /// Prints what has moved since the file was written; true if nothing has.
    pub fn check(&self, path: &Path) -> Result<bool> {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("{shown}: try --save"))?;
        let saved: Self = serde_json::from_str(&text).with_context(|| shown.to_string())?;
        let mut moved = compare(&saved.engine, &self.engine);
        // Whoever did not measure them does not miss them.
        if !self.peers.is_empty() {
            moved.extend(compare(&saved.peers, &self.peers));
        }
        let count = self.engine.len() + self.peers.len();
        if moved.is_empty() {
            println!("all {count} numbers are within {:.0} % of {shown}", 100.0 * TOLERANCE);
            return Ok(true);
        }
        println!("{:62} {:>8} {:>8}", "moved", "before", "now");
        moved.iter().for_each(|moved| println!("{moved}"));
        println!("{} of {count} numbers have moved by more than 15 %", moved.len());
        Ok(false)
    }

    /// Writes the file. Numbers about other programs stay if there are no new ones.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut summary = self.clone();
        if summary.peers.is_empty()
            && let Ok(text) = fs::read_to_string(path)
        {
            summary.peers = serde_json::from_str::<Self>(&text)?.peers;
        }
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}

/// All numbers below `ratios`, or in the whole if there is no such member; names of nested ones
/// are put together.
fn peer_ratios(value: &Value) -> Numbers {
    fn walk(name: &str, value: &Value, numbers: &mut Numbers) {
        if let Some(number) = value.as_f64() {
            numbers.insert(name.to_owned(), number);
        }
        for (part, value) in value.as_object().into_iter().flatten() {
            let name = if name.is_empty() { part.clone() } else { format!("{name}, {part}") };
            walk(&name, value, numbers);
        }
    }
    let mut numbers = Numbers::new();
    walk("", value.get("ratios").unwrap_or(value), &mut numbers);
    numbers
}

fn compare(saved: &Numbers, fresh: &Numbers) -> Vec<Moved> {
    let names: BTreeSet<&String> = saved.keys().chain(fresh.keys()).collect();
    let moved = names.into_iter().map(|name| Moved {
        name: name.clone(),
        before: saved.get(name).copied(),
        now: fresh.get(name).copied(),
    });
    moved.filter(|moved| !moved.is_within(TOLERANCE)).collect()
}

impl Moved {
    fn is_within(&self, tolerance: f64) -> bool {
        self.before.zip(self.now).is_some_and(|(before, now)| {
            // Percentages and counts that were zero have no share to differ by.
            let room = if before == 0.0 { 0.01 } else { before.abs() * tolerance };
            (now - before).abs() <= room
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numbers(numbers: &[(&str, f64)]) -> Numbers {
        numbers.iter().map(|(name, number)| ((*name).into(), *number)).collect()
    }

    #[test]
    fn what_moved_comes_and_goes_is_told() {
        let saved = numbers(&[("a", 10.0), ("b", 10.0), ("c", 10.0), ("gone", 1.0), ("none", 0.0)]);
        let fresh = numbers(&[("a", 11.5), ("b", 8.4), ("c", 11.6), ("new", 1.0), ("none", 0.5)]);
        let moved = compare(&saved, &fresh);
        let names: Vec<&str> = moved.iter().map(|moved| moved.name.as_str()).collect();
        assert_eq!(names, ["b", "c", "gone", "new", "none"]);
        let line = moved[0].to_string();
        assert!(line.contains("10.00") && line.contains("8.40") && line.contains("-16 %"));
        assert!(moved[2].to_string().contains('-'));
        assert_eq!(compare(&saved, &saved), []);
    }

    #[test]
    fn numbers_of_others_are_found_wherever_they_are() {
        let expected = numbers(&[("nat, ovs", 1.5), ("nat, vpp", 0.5), ("plain", 2.0)]);
        let nested = json!({ "nat": { "ovs": 1.5, "vpp": 0.5 }, "plain": 2, "note": "text" });
        assert_eq!(peer_ratios(&nested), expected);
        assert_eq!(peer_ratios(&json!({ "ratios": nested, "cpus": 2 })), expected);
    }

    #[test]
    fn a_summary_can_be_saved_and_checked() {
        let path = std::env::temp_dir().join(format!("summary-{}.json", std::process::id()));
        let with = |engine: f64, peers: &[(&str, f64)]| Summary {
            engine: numbers(&[("hit", engine)]),
            peers: numbers(peers),
        };
        with(5.0, &[("peer", 2.0)]).save(&path).unwrap();
        assert!(with(5.5, &[]).check(&path).unwrap());
        assert!(!with(6.5, &[]).check(&path).unwrap());
        assert!(!with(5.0, &[("peer", 1.0)]).check(&path).unwrap());
        with(6.5, &[]).save(&path).unwrap();
        assert!(with(6.5, &[("peer", 2.0)]).check(&path).unwrap());
        fs::remove_file(path).unwrap();
    }
}
