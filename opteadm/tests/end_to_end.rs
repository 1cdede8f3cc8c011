// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The real program against a fake host on a Unix socket.

mod fake;

use fake::{FakeHost, Ran, program, run};
use opte_api::OpteError;
use opte_api::frame::{API_VERSION, Header, Status, encode_answer};
use oxide_vpc_api::PortState;
use oxide_vpc_api::dump::PortInfo;
use oxide_vpc_api::request::*;
use serde::Serialize;

/// Runs the program against a host that gives this answer.
fn against<T: Serialize>(answer: Result<T, OpteError>, words: &str) -> (Ran, FakeHost) {
    let host = FakeHost::answering(encode_answer(&answer));
    let ran = run(program(words).arg("--socket").arg(&host.socket), "");
    (ran, host)
}

fn ports() -> Vec<PortInfo> {
    let port = |name: &str| PortInfo {
        name: name.parse().unwrap(),
        state: PortState::Running,
        mac: "a8:40:25:f0:00:01".parse().unwrap(),
        vni: "100".parse().unwrap(),
        mtu: 1500,
        underlay_ip: "fd00::1".parse().unwrap(),
        private_ips: vec!["172.30.0.5".parse().unwrap(), "fd12::5".parse().unwrap()],
        floating: vec!["203.0.113.8".parse().unwrap()],
        ephemeral: vec![],
        snat: vec!["203.0.113.7:16384-32767".into()],
        generation: 4,
    };
    vec![port("opte2"), port("opte10")]
}

#[test]
fn people_get_a_table() {
    let unsorted: Vec<PortInfo> = ports().into_iter().rev().collect();
    let (ran, host) = against(Ok(unsorted), "list-ports");
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("LINK    MAC "), "{}", ran.out);
    assert!(lines[1].starts_with("opte2   a8:40:"), "{}", ran.out);
    assert!(lines[2].starts_with("opte10  a8:40:"), "{}", ran.out);
    assert_eq!(host.request::<ListPorts>(), ListPorts {});
}

#[test]
fn programs_get_the_answer_itself() {
    let (ran, _host) = against(Ok(ports()), "list-ports --json");
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Vec<PortInfo>>(&ran.out).unwrap(), ports());
}

#[test]
fn changes_say_how_they_went() {
    for (words, out) in
        [("delete-xde opte0", ""), ("--json delete-xde opte0", "{\"result\":\"ok\"}\n")]
    {
        let (ran, host) = against(Ok(()), words);
        assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (0, out, ""), "{words}");
        assert_eq!(host.request::<DeletePort>().name.as_str(), "opte0");
    }
    let route = "del-router-entry -p opte0 0.0.0.0/0 ig system";
    let (ran, _) = against(Ok(Removal::Absent), &format!("{route} --json"));
    assert_eq!((ran.status, ran.out.as_str()), (0, "{\"result\":\"absent\"}\n"));
    let (ran, _) = against(Ok(7u64), "add-fw-rule -p opte0 dir=in action=allow priority=1");
    assert_eq!((ran.status, ran.out.as_str()), (0, "added rule 7\n"));
}

#[test]
fn a_refusal_is_one_sentence() {
    let refusal = || Err::<(), _>(OpteError::not_found("port", "opte9"));
    let (ran, _) = against(refusal(), "clear-uft -p opte9");
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "opteadm: port 'opte9' does not exist\n");

    let (ran, _) = against(refusal(), "clear-uft -p opte9 --json");
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error, serde_json::json!({ "error": "port 'opte9' does not exist" }));
}

#[test]
fn rules_come_from_standard_input() {
    let host = FakeHost::answering(encode_answer(&Ok(())));
    let mut command = program("set-fw-rules -p opte0");
    let rules = "# web\ndir=in action=allow priority=1 port=80\n";
    let ran = run(command.env("XDE_SOCKET", &host.socket), rules);
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let request: SetFwRules = host.request();
    assert_eq!(request.rules, ["dir=in action=allow priority=1 port=80".parse().unwrap()]);

    // Nobody listens here, and nobody is asked.
    let mut command = program("set-fw-rules -p opte0 --socket /nowhere");
    let ran = run(&mut command, "dir=in action=allow priority=1\ndir=in\n");
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        "opteadm: line 2: invalid firewall rule: 'action' is missing; nothing was changed\n"
    );
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("xde.sock");
    let ran = run(program("list-ports --socket").arg(&socket), "");
    assert_eq!(ran.status, 1);
    let start =
        format!("opteadm: cannot reach xde at {}: is the daemon running?", socket.display());
    assert!(ran.err.starts_with(&start), "{}", ran.err);

    // A socket whose owner has died.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let ran = run(program("list-ports").env("XDE_SOCKET", &socket), "");
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("nobody listens"), "{}", ran.err);
}

#[test]
fn a_host_of_another_version_is_told_from_a_broken_one() {
    let head = |version| Header { version, code: Status::Done as u16, len: 1 }.to_bytes();
    for (answer, part) in [
        ([&head(API_VERSION + 1)[..], &[0]].concat(), "install matching versions"),
        (head(API_VERSION).to_vec(), "closed the connection before it answered"),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "wrong magic number"),
    ] {
        let host = FakeHost::answering(answer);
        let ran = run(program("list-ports").arg("--socket").arg(&host.socket), "");
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains(part), "{}", ran.err);
    }
}

#[test]
fn wrong_usage_has_its_own_status() {
    let ran = run(&mut program("delete-xde"), "");
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Usage: opteadm delete-xde"), "{}", ran.err);

    let ran = run(&mut program("list-layers -p 0 --json"), "");
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    let text = error["error"].as_str().unwrap();
    assert!(text.contains("invalid value '0' for '--port <NAME>'"), "{text}");
}

#[test]
fn help_and_version_are_no_errors() {
    let ran = run(&mut program("--help"), "");
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("create-xde") && ran.out.contains("XDE_SOCKET"), "{}", ran.out);
    let ran = run(&mut program("--version"), "");
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains(&format!("API version {API_VERSION}")), "{}", ran.out);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let host = FakeHost::answering(encode_answer(&Ok(ports())));
    let mut command = program("list-ports");
    let child = command.arg("--socket").arg(&host.socket).stdout(writer).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}
