// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The recorded packet scenarios, each through the module: requests by ioctl, frames as messages.

use super::Setting;
use crate::host::Host;
use crate::module::take_fired;
use crate::shape::Shape;
use anyhow::{Result, ensure};
use opte_tests::vectors::contract::{Change, Outcome, Refusal, Subject};
use opte_tests::vectors::model::{PortDescription, Scenario};
use opte_tests::vectors::report::{Tally, lines};
use opte_tests::vectors::{folder, json, play, subject};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use xde_illumos_shim::modules::Kernel;

/// Scenarios on which this project differs from what was recorded.
const NOT_PASSING: &str = include_str!("../../../../../tests/data/vectors-not-passing.tsv");

fn scenarios() -> Result<Option<Vec<Scenario>>> {
    let excused: BTreeSet<&str> = NOT_PASSING
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').next())
        .collect();
    let Some(folder) = folder() else { return Ok(None) };
    let mut all = json::read_folder(&folder)?;
    all.retain(|scenario| !excused.contains(scenario.name.as_str()));
    Ok(Some(all))
}

const NONE: &str = "skipped, no folder of vectors";

/// A host that is shut down when its scenario is over; what went wrong then is kept.
struct Ending {
    subject: Option<Box<dyn Subject>>,
    host: Rc<RefCell<Option<Host>>>,
    wrong: Rc<RefCell<Vec<String>>>,
}

impl Subject for Ending {
    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        self.subject.as_mut().map_or(Ok(()), |it| it.change(change))
    }

    fn advance(&mut self, ms: u64) {
        self.subject.iter_mut().for_each(|it| it.advance(ms));
    }

    fn expire(&mut self) {
        self.subject.iter_mut().for_each(|it| it.expire());
    }

    fn packet(&mut self, direction: opte_api::Direction, bytes: &[u8]) -> Outcome {
        match &mut self.subject {
            Some(subject) => subject.packet(direction, bytes),
            None => Outcome::Drop("no subject".into()),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.subject.take());
        if let Some(Err(error)) = self.host.borrow_mut().take().map(Host::shut_down) {
            self.wrong.borrow_mut().push(format!("{error:#}"));
        }
    }
}

/// Plays a scenario with frames in this shape; what went otherwise than recorded.
fn play_one(
    setting: &Setting<'_>,
    kernel: Kernel,
    shape: &Shape,
    scenario: &Scenario,
) -> (Tally, Vec<String>) {
    let wrong = Rc::new(RefCell::new(Vec::new()));
    let make = |port: &PortDescription| -> Result<Box<dyn Subject>, Refusal> {
        take_fired();
        let host = Host::ready(setting.loaded(), setting.options(kernel));
        let mut host = host.map_err(|error| Refusal::Refused(format!("{error:#}")))?;
        host.name("port");
        host.shape = shape.clone();
        let shared = Rc::new(RefCell::new(Some(host)));
        let subject = subject::make_on(crate::played::Shared(shared.clone()), port)?;
        Ok(Box::new(Ending { subject: Some(subject), host: shared, wrong: wrong.clone() }))
    };
    let played = play::play(scenario, &make);
    let mut all = lines(scenario, &played, false);
    if !wrong.borrow().is_empty() || Tally::from(&played).failed > 0 {
        setting.load_anew().expect("it was loaded before");
    }
    all.extend(wrong.borrow().iter().map(|error| format!("{}: {error}", scenario.name)));
    (Tally::from(&played), all)
}

fn judge(wrong: &[String]) -> Result<()> {
    ensure!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.iter().take(40).cloned().collect::<Vec<_>>().join("\n")
    );
    Ok(())
}

/// All scenarios, on both kernels, frames in one block.
pub fn whole(setting: &Setting<'_>) -> Result<String> {
    let Some(scenarios) = scenarios()? else { return Ok(NONE.into()) };
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for kernel in super::KERNELS {
        let step = if setting.plain { 9 } else { 1 };
        for scenario in scenarios.iter().step_by(step) {
            let shape = Shape { room: 100, ..Shape::default() };
            let (one, lines) = play_one(setting, kernel, &shape, scenario);
            tally.passed += one.passed;
            tally.failed += one.failed;
            tally.disputed += one.disputed;
            wrong.extend(lines);
        }
    }
    judge(&wrong)?;
    Ok(format!("{} scenarios on each of two kernels: {tally}", scenarios.len()))
}

/// The same with frames cut at each place, shared with others, and with no room in front.
pub fn cut(setting: &Setting<'_>) -> Result<String> {
    let Some(scenarios) = scenarios()? else { return Ok(NONE.into()) };
    let (mut tally, mut wrong, mut rounds) = (Tally::default(), Vec::new(), 0);
    let step = if setting.plain { 40 } else { 1 };
    for cut in (0..=180).step_by(step) {
        let kernel = super::KERNELS[cut % 2];
        // Every other round has three blocks, of which the second may be empty.
        let cuts = if cut % 4 < 2 { vec![cut] } else { vec![cut, cut + cut % 7] };
        let shape = Shape { cuts, shared: cut % 3 == 0, room: 0 };
        for scenario in scenarios.iter().skip(cut % 3).step_by(3) {
            let (one, lines) = play_one(setting, kernel, &shape, scenario);
            tally.passed += one.passed;
            tally.failed += one.failed;
            wrong.extend(lines.into_iter().map(|line| format!("{shape:?}: {line}")));
        }
        rounds += 1;
    }
    judge(&wrong)?;
    Ok(format!("{rounds} shapes: {tally}"))
}
