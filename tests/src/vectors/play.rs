// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Plays a scenario from its first step to its last.
//!
//! A packet is one check; so is an operation that must be refused. Other operations count only
//! when they are refused against expectation. A failed check does not end a scenario; an
//! operation that the subject does not know does: what comes after it would mean nothing.

use super::check::{self, Mismatch, Variables};
use super::contract::{Change, Factory, Outcome, Refusal, Subject};
use super::model::{Action, PacketStep, Scenario, Step};

/// How a check ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// As recorded.
    Passed,
    /// Otherwise than recorded.
    Failed(Vec<Mismatch>),
    /// What was recorded is arguable: counted apart.
    Disputed(Dispute),
    /// Not reached.
    NotPlayed,
}

/// How a disputed check ended.
#[derive(Clone, Debug)]
pub enum Dispute {
    /// As recorded.
    Followed,
    /// Otherwise, in a way that is accepted.
    AlsoOk,
    /// Otherwise.
    Differs(Vec<Mismatch>),
    /// Not reached.
    NotPlayed,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Number of the step, from 0.
    pub step: usize,
    /// What was done, for readers.
    pub what: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What went in and came out, where it was a packet.
    pub packet: Option<(Vec<u8>, Outcome)>,
}

/// A scenario that was played.
#[derive(Clone, Debug)]
pub struct Played {
    /// Every check, in order.
    pub checks: Vec<Checked>,
    /// Where and why it ended before its last step.
    pub stopped: Option<(usize, String)>,
}

/// Plays a scenario on a fresh port.
pub fn play(scenario: &Scenario, make: &Factory<'_>) -> Played {
    let mut player = Player { scenario, variables: Variables::new(), checks: Vec::new() };
    let stopped = match make(&scenario.port) {
        Ok(mut subject) => player.play(subject.as_mut()),
        Err(refusal) => Some((0, format!("the port is {refusal}"))),
    };
    if let Some((step, _)) = &stopped {
        player.skip_from(*step);
    }
    Played { checks: player.checks, stopped }
}

struct Player<'a> {
    scenario: &'a Scenario,
    variables: Variables,
    checks: Vec<Checked>,
}

impl Player<'_> {
    fn play(&mut self, subject: &mut dyn Subject) -> Option<(usize, String)> {
        for (at, step) in self.scenario.steps.iter().enumerate() {
            match &step.action {
                Action::Advance(ms) => subject.advance(*ms),
                Action::Expire => subject.expire(),
                Action::Change(change) => {
                    if let Err(why) = self.change(subject, at, step, change) {
                        return Some((at, why));
                    }
                }
                Action::Packet(packet) => self.packet(subject, at, step, packet),
            }
        }
        None
    }

    /// The error ends the scenario.
    fn change(
        &mut self,
        subject: &mut dyn Subject,
        at: usize,
        step: &Step,
        change: &Change,
    ) -> Result<(), String> {
        let verdict = match (subject.change(change), step.refused) {
            (Err(refusal @ Refusal::Unsupported(_)), _) => {
                return Err(format!("{} is {refusal}", change.name()));
            }
            (Ok(()), false) => return Ok(()),
            (Err(Refusal::Refused(_)), true) => Verdict::Passed,
            (Ok(()), true) => failed("a refusal", "accepted"),
            (Err(refusal), false) => failed("accepted", &refusal.to_string()),
        };
        self.checks.push(Checked { step: at, what: what(step), verdict, packet: None });
        Ok(())
    }

    fn packet(&mut self, subject: &mut dyn Subject, at: usize, step: &Step, packet: &PacketStep) {
        let (mismatches, also_ok, packet_record) = match check::input(packet, &self.variables) {
            Ok(bytes) => {
                let outcome = subject.packet(packet.direction, &bytes);
                let mismatches = check::compare(packet, &outcome, &self.variables);
                check::bind(packet, &outcome, &mut self.variables);
                let also_ok = check::is_also_ok(packet, &outcome);
                (mismatches, also_ok, Some((bytes, outcome)))
            }
            Err(error) => {
                let mismatch = Mismatch::new("input", "a frame to send", format!("{error:#}"));
                (vec![mismatch], false, None)
            }
        };
        let verdict = match (self.scenario.disputes(packet), mismatches.is_empty()) {
            (false, true) => Verdict::Passed,
            (false, false) => Verdict::Failed(mismatches),
            (true, true) => Verdict::Disputed(Dispute::Followed),
            (true, false) if also_ok => Verdict::Disputed(Dispute::AlsoOk),
            (true, false) => Verdict::Disputed(Dispute::Differs(mismatches)),
        };
        self.checks.push(Checked { step: at, what: what(step), verdict, packet: packet_record });
    }

    fn skip_from(&mut self, first: usize) {
        for (at, step) in self.scenario.steps.iter().enumerate().skip(first) {
            let verdict = match &step.action {
                Action::Packet(packet) if self.scenario.disputes(packet) => {
                    Verdict::Disputed(Dispute::NotPlayed)
                }
                Action::Packet(_) => Verdict::NotPlayed,
                Action::Change(_) if step.refused || at == first => Verdict::NotPlayed,
                _ => continue,
            };
            self.checks.push(Checked { step: at, what: what(step), verdict, packet: None });
        }
    }
}

fn failed(expected: &str, seen: &str) -> Verdict {
    Verdict::Failed(vec![Mismatch::new("result", expected, seen)])
}

fn what(step: &Step) -> String {
    let name = match &step.action {
        Action::Change(change) => change.name().to_owned(),
        Action::Advance(_) => "advance_time".into(),
        Action::Expire => "expire_flows".into(),
        Action::Packet(packet) => packet.direction.to_string(),
    };
    if step.note.is_empty() { name } else { format!("{name}, {}", step.note) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::json::sample;
    use crate::vectors::report::{Tally, lines};
    use opte_api::Direction;

    /// Accepts changes of routes only, and gives prepared answers; keeps nothing.
    struct Script(Vec<Outcome>);

    impl Subject for Script {
        fn change(&mut self, change: &Change) -> Result<(), Refusal> {
            match change {
                Change::AddRoute(_) => Ok(()),
                Change::DelRoute(_) => Err(Refusal::Refused("not there".into())),
                other => Err(Refusal::Unsupported(other.name().into())),
            }
        }

        fn advance(&mut self, _ms: u64) {}

        fn expire(&mut self) {}

        fn packet(&mut self, _direction: Direction, bytes: &[u8]) -> Outcome {
            match self.0.remove(0) {
                // Gives back what came in, so that a test can see it.
                Outcome::Reply(_) => Outcome::Reply(bytes.to_vec()),
                other => other,
            }
        }
    }

    fn play_script(steps: &[&str], answers: &[Outcome]) -> (Tally, Vec<String>) {
        let scenario = sample(&steps.join(",")).unwrap();
        let played = play(&scenario, &|_| Ok(Box::new(Script(answers.to_vec()))));
        (Tally::from(&played), lines(&scenario, &played, false))
    }

    fn tally(passed: usize, failed: usize, disputed: usize) -> Tally {
        Tally { passed, failed, disputed }
    }

    fn forward(bytes: &[u8]) -> Outcome {
        Outcome::Forward(bytes.to_vec())
    }

    const ROUTE: &str = r#"{"op":"add_route","dest":"::/0","target":{"kind":"drop"},
        "class":"system"}"#;
    const NO_ROUTE: &str = r#"{"op":"del_route","dest":"::/0","target":{"kind":"drop"},
        "class":"system"}"#;
    const NO_ROUTE_REFUSED: &str = r#"{"op":"del_route","dest":"::/0","target":{"kind":"drop"},
        "class":"system","expect":"error"}"#;
    const ATTACH: &str = r#"{"op":"attach_subnet","subnet":"fd02::/64","external":true}"#;
    const BIND: &str = r#"{"op":"packet","dir":"in","bytes":"00","result":"forward","note":"b",
        "output":"aabbcc","mask":"ff00ff","bind":{"p":{"offset":1,"len":1,"range":[1,9]}}}"#;
    const USE: &str = r#"{"op":"packet","dir":"in","bytes":"0011","result":"hairpin","note":"u",
        "subst":[{"offset":1,"len":1,"var":"p"}],"output":"0011","mask":"ff00",
        "expect_vars":[{"offset":1,"len":1,"var":"p"}]}"#;
    const DISPUTED: &str = r#"{"op":"packet","dir":"out","bytes":"00","result":"drop","note":"d",
        "dispute":"why not","also_ok":[{"result":"hairpin","output":"00"}]}"#;

    #[test]
    fn variables_go_from_answer_to_packet() {
        let answers = [forward(&[0xaa, 7, 0xcc]), Outcome::Reply(vec![])];
        assert_eq!(play_script(&[BIND, USE], &answers), (tally(2, 0, 0), vec![]));
    }

    #[test]
    fn differences_are_told_and_play_goes_on() {
        let answers = [forward(&[0xab, 10, 0xcc]), Outcome::Reply(vec![])];
        let (counts, lines) = play_script(&[BIND, USE], &answers);
        assert_eq!(counts, tally(1, 1, 0));
        assert_eq!(
            lines,
            ["FAIL n step 0 (in, b): ether.dst (mask ff00ff): expected aabbcc, seen ab0acc; \
              variable 'p' at offset 1: expected 1 to 9, seen 10"]
        );
    }

    #[test]
    fn a_variable_without_value_fails_its_step() {
        let (counts, lines) = play_script(&[BIND, USE, ROUTE], &[Outcome::Drop("full".into())]);
        assert_eq!(counts, tally(0, 2, 0));
        assert!(lines[0].ends_with("expected forward of 3 bytes, seen drop (full)"), "{lines:?}");
        assert!(lines[1].contains("variable 'p' has no value"), "{lines:?}");
    }

    #[test]
    fn refusals_are_checks_where_they_are_expected() {
        assert_eq!(play_script(&[ROUTE, NO_ROUTE_REFUSED], &[]).0, tally(1, 0, 0));
        let (counts, lines) = play_script(&[NO_ROUTE], &[]);
        assert_eq!(counts, tally(0, 1, 0));
        assert_eq!(
            lines,
            ["FAIL n step 0 (del_route): result: expected accepted, seen refused: not there"]
        );
        let accepted = ROUTE.replace("system\"", "system\",\"expect\":\"error\"");
        assert_eq!(play_script(&[&accepted], &[]).0, tally(0, 1, 0));
    }

    #[test]
    fn an_unknown_operation_ends_the_scenario() {
        let steps = [BIND, ATTACH, USE, DISPUTED, NO_ROUTE_REFUSED, ROUTE];
        let (counts, lines) = play_script(&steps, &[forward(&[0xaa, 7, 0xcc])]);
        assert_eq!(counts, tally(1, 3, 1));
        let told = "FAIL n step 1 and all after it: attach_subnet is unsupported: attach_subnet";
        assert_eq!(lines, [told]);
    }

    #[test]
    fn disputed_steps_are_told_apart() {
        for (answer, is_right) in [
            (
                Outcome::Drop("x".into()),
                (|dispute| matches!(dispute, Dispute::Followed)) as fn(&_) -> _,
            ),
            (Outcome::Reply(vec![]), |dispute| matches!(dispute, Dispute::AlsoOk)),
            (forward(&[0]), |dispute| matches!(dispute, Dispute::Differs(_))),
        ] {
            let scenario = sample(DISPUTED).unwrap();
            let played = play(&scenario, &|_| Ok(Box::new(Script(vec![answer.clone()]))));
            let Verdict::Disputed(dispute) = &played.checks[0].verdict else { panic!("disputed") };
            assert!(is_right(dispute), "{dispute:?}");
            assert!(lines(&scenario, &played, false).is_empty());
        }
    }
}
