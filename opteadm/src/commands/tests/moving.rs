// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports that are changed, go to a file, and come back.

use super::*;
use opte_api::frame::{
    HEADER_LEN, Header, MAX_RESPONSE, decode, decode_answer, encode_answer, encode_request,
};

/// A host with a port that is saved in two parts, and one that takes what it is given.
#[derive(Default)]
struct Mover {
    staged: Vec<u8>,
    seen: Vec<u16>,
}

impl Mover {
    fn answer(&mut self, code: u16, body: &[u8]) -> Vec<u8> {
        match code {
            SavePort::CODE => {
                let SavePort { from, .. } = decode(body).unwrap();
                let bytes = saved_port();
                let (first, second) = bytes.split_at(bytes.len() / 2);
                let next = SaveFrom { number: 0, flows: 0, since_ms: 0 };
                encode_answer(&Ok(match from {
                    None => SavedPart { bytes: first.to_vec(), next: Some(next) },
                    Some(_) => SavedPart { bytes: second.to_vec(), next: None },
                }))
            }
            StageRestore::CODE => {
                let StageRestore { offset, bytes } = decode(body).unwrap();
                assert_eq!(offset as usize, self.staged.len());
                self.staged.extend(bytes);
                encode_answer(&Ok(self.staged.len() as u64))
            }
            RestorePort::CODE => {
                let RestorePort { name, bytes, .. } = decode(body).unwrap();
                assert_eq!(bytes as usize, self.staged.len());
                encode_answer(&Ok(Restored { port: name.unwrap(), flows: 0 }))
            }
            _ => encode_answer(&Ok(())),
        }
    }
}

impl Xde for Mover {
    fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        self.seen.push(R::CODE);
        let frame = encode_request(request).unwrap();
        let answer = self.answer(R::CODE, &frame[HEADER_LEN..]);
        let (header, body) = answer.split_first_chunk::<HEADER_LEN>().unwrap();
        let header = Header::from_bytes(*header, MAX_RESPONSE).unwrap();
        decode_answer(header, body).map_err(Error::Refused)
    }
}

#[test]
fn a_port_goes_to_a_file_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("opte0.saved");
    let mut mover = Mover::default();
    let mut run = |line: String| {
        let words = std::iter::once("opteadm").chain(line.split_whitespace());
        let mut out = Vec::new();
        let (form, input) = (Form::Table, &mut &b""[..]);
        let mut console = Console { xde: &mut mover, form, input, out: &mut out };
        run(Cli::try_parse_from(words).unwrap().command, &mut console).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(run(format!("save-port opte0 {} --resume", file.display())), "");
    assert_eq!(std::fs::read(&file).unwrap(), saved_port());
    let line = format!("restore-port {} --as opte7 --start", file.display());
    assert_eq!(run(line), "restored port opte7 with 0 flows\n");
    assert_eq!(mover.staged, saved_port());
    let expected = [
        SavePort::CODE,
        SavePort::CODE,
        StartPort::CODE,
        StageRestore::CODE,
        RestorePort::CODE,
        StartPort::CODE,
    ];
    assert_eq!(mover.seen, expected);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part is left");
}

#[test]
fn a_port_that_cannot_be_saved_or_restored_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("opte0.saved");
    let (requests, _) = typed(&format!("save-port opte0 {}", file.display()), "");
    assert_eq!(requests.len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&file, "OPTESAVE").unwrap();
    check_error(&format!("restore-port {}", file.display()), &["opte0.saved"]);
}

#[test]
fn settings_are_changed_by_name() {
    let mut settings = PortSettings::default();
    settings.idle.udp = 180;
    settings.flows.limit = Some(9);
    let line = "set-port-settings -p opte0 --default idle.udp=180 flows.limit=9";
    check(line, SetPortSettings { port: port(), settings: settings.clone() });
    let file = r#"{"idle": {"udp": 180}}"#;
    let line = "set-port-settings -p opte0 --file - flows.limit=9";
    check_input(line, file, SetPortSettings { port: port(), settings });
    // What is set now is asked for first.
    check("set-port-settings -p opte0 idle.udp=180", ShowPortSettings { port: port() });
    check("show-port-settings -p opte0", ShowPortSettings { port: port() });
    let line = "set-port-settings -p opte0 idle.upd=1";
    check_error(line, &["there is no setting 'idle.upd'", "show-port-settings"]);
    check_error("set-port-settings -p opte0 idle.udp=soon", &["idle.udp"]);
    check_error("set-port-settings -p opte0 idle.udp", &["no NAME=VALUE"]);
    let line = "set-port-settings -p opte0 --default idle.udp=5";
    check_error(line, &["idle.udp", "120", "idle.short=true"]);
    check_error("set-port-settings -p opte0", &["required"]);
}

#[test]
fn ports_are_started_paused_reset_and_changed() {
    check("start-port opte0", StartPort { port: port() });
    check("pause-port opte0", PausePort { port: port() });
    check("reset-port opte0", ResetPort { port: port() });
    check("set-mtu -p opte0 8500", SetMtu { port: port(), mtu: 8500 });
    let underlay_ip = of("fd00:1::2");
    check(
        "set-underlay-address -p opte0 fd00:1::2",
        SetUnderlayAddress { port: port(), underlay_ip },
    );
    let dhcp = DhcpConfig {
        hostname: Some(of("web")),
        dns4: vec![of("1.1.1.1")],
        ..DhcpConfig::default()
    };
    check("set-dhcp -p opte0 --hostname web --dns 1.1.1.1", SetDhcp { port: port(), dhcp });
}
