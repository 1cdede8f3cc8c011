// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The scenarios of the project's own tests, on two hosts that are the module twice.
//!
//! Their texts are read out of the tests' sources: what stands there is what is played.

use super::Setting;
use crate::host::Host;
use crate::module::take_fired;
use crate::played::Shared;
use crate::shape::Shape;
use anyhow::{Context as _, Result, ensure};
use opte_tests::scenario::play_on;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use xde::driver::DriverOptions;

/// Where tests are.
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../tests/tests");
/// What begins a scenario in a test.
const CALL: &str = "check(\n        \"";

/// A scenario, and the test that it is in.
struct Text {
    name: String,
    text: String,
}

/// Every scenario that is a literal. One that wants a small table is left out: the module's has the
/// usual size.
fn texts() -> Result<Vec<Text>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(Path::new(TESTS)).context(TESTS)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path)?;
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (at, _) in source.match_indices(CALL) {
            let before = source[..at].rfind("fn ").map(|at| &source[at + 3..]);
            let name = before.and_then(|it| it.split('(').next()).unwrap_or_default();
            let text = source[at + CALL.len()..].split("\",\n").next().unwrap_or_default();
            // A backslash joins lines.
            let mut parts = text.split("\\\n");
            let first = parts.next().unwrap_or_default().to_owned();
            let text = parts.fold(first, |all, part| all + part.trim_start());
            let text = text.replace("\\\"", "\"");
            let name = format!("{file}::{name}");
            all.push(Text { name, text });
        }
    }
    let wants_a_size = |line: &str| line.starts_with("limit ") || line.contains(" flow_limit =");
    all.retain(|it| !it.text.lines().any(|line| wants_a_size(line.trim())));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Plays one, and shuts its hosts down.
fn play(setting: &Setting<'_>, at: usize, text: &Text) -> Result<()> {
    take_fired();
    let (made, number) = (RefCell::new(Vec::new()), Cell::new(0));
    let kernel = super::KERNELS[at % 2];
    let cuts = if at.is_multiple_of(3) { vec![] } else { vec![14 + at % 60] };
    let make = |_: DriverOptions| {
        let loaded = if number.get() % 2 == 0 { setting.loaded() } else { setting.second() };
        number.set(number.get() + 1);
        let mut host = Host::ready(loaded, setting.options(kernel)).expect("a host");
        host.shape = Shape { cuts: cuts.clone(), ..Shape::default() };
        let host = Rc::new(RefCell::new(Some(host)));
        made.borrow_mut().push(host.clone());
        Shared(host)
    };
    let played = catch_unwind(AssertUnwindSafe(|| play_on(&text.text, &make)));
    let ended: Result<Vec<()>> = made
        .into_inner()
        .into_iter()
        .filter_map(|host| host.borrow_mut().take())
        .map(Host::shut_down)
        .collect();
    match played {
        Ok(Ok(())) => ended.map(drop),
        Ok(Err(why)) => anyhow::bail!("{why}"),
        Err(_) => anyhow::bail!("an assertion failed"),
    }
}

/// All of them.
pub fn all(setting: &Setting<'_>) -> Result<String> {
    let texts = texts()?;
    ensure!(texts.len() > 50, "only {} scenarios were found", texts.len());
    let step = if setting.plain { 25 } else { 1 };
    let mut wrong = Vec::new();
    for (at, text) in texts.iter().enumerate().step_by(step) {
        if let Err(error) = play(setting, at, text) {
            wrong.push(format!("{}: {error:#}", text.name));
            setting.load_anew()?;
        }
    }
    ensure!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
    Ok(format!("{} scenarios on two hosts", texts.len().div_ceil(step)))
}
