// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The binary `xde` from outside: how it starts, refuses to start, serves and stops.

use opte_api::frame::{
    API_VERSION, HEADER_LEN, Header, MAX_RESPONSE, OLDEST_VERSION, decode_answer,
};
use opte_api::{MacAddr, OpteError, Vni};
use opte_ioctl::OpteHdl;
use oxide_vpc_api::request::{
    ClearUnderlay, CreatePort, DeletePort, DumpCounters, ListPorts, SetUnderlay, ShowUnderlay,
};
use oxide_vpc_api::{DhcpConfig, ExternalIps, IpConfig, PortConfig, PortName};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xde_linux::control::MAX_CLIENTS;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
const XDE: &str = env!("CARGO_BIN_EXE_xde");

/// A folder and a network namespace with a process; all gone when dropped.
struct Host {
    dir: PathBuf,
    netns: String,
    process: Option<Child>,
}

impl Host {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let netns = format!("xp{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(&netns);
        std::fs::create_dir(&dir).unwrap();
        assert!(ip(&["netns", "add", &netns]).status.success());
        assert!(ip(&["-n", &netns, "link", "set", "lo", "up"]).status.success());
        Self { dir, netns, process: None }
    }

    /// Starts the process and waits until it says that it is ready.
    fn started(args: &[&str]) -> Self {
        let mut host = Self::new();
        let notify = host.dir.join("notify");
        let inbox = UnixDatagram::bind(&notify).unwrap();
        inbox.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = host.command(args);
        host.process = Some(command.env("NOTIFY_SOCKET", &notify).spawn().unwrap());
        let mut said = [0; 100];
        let len = inbox.recv(&mut said).unwrap();
        assert_eq!(&said[..len], b"READY=1");
        host
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns, XDE, "--socket"]).arg(self.socket()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn client(&self) -> OpteHdl {
        OpteHdl::open_at(self.socket()).unwrap()
    }

    fn has_link(&self, name: &str) -> bool {
        ip(&["-n", &self.netns, "link", "show", name]).status.success()
    }

    /// Asks the process to stop, and answers how it ended.
    fn stop(&mut self, signal: Signal) -> Output {
        let child = self.process.take().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ip(&["netns", "del", &self.netns]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn ip(args: &[&str]) -> Output {
    Command::new("ip").args(args).output().unwrap()
}

/// Runs `test` as root, or says that it is skipped.
fn as_root(name: &str, test: impl FnOnce()) {
    if rustix::process::geteuid().is_root() && Path::new("/dev/net/tun").exists() {
        test();
    } else {
        println!("{name}: skipped, it needs root and /dev/net/tun");
    }
}

/// A port of its own for each `number`.
fn port_config(number: u8) -> PortConfig {
    PortConfig {
        mac: MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, number]),
        gateway_mac: MacAddr([0xa8, 0x40, 0x25, 0xff, 0x77, 0x77]),
        boundary_mac: MacAddr([0xa8, 0x40, 0x25, 0x77, 0x77, 0x77]),
        vni: Vni::new(7).unwrap(),
        underlay_ip: "fd00::1".parse().unwrap(),
        mtu: 1400,
        ipv4: Some(IpConfig {
            private_ip: [172, 30, 0, 5 + number].into(),
            subnet: "172.30.0.0/22".parse().unwrap(),
            gateway_ip: "172.30.0.1".parse().unwrap(),
            external: ExternalIps::default(),
        }),
        ipv6: None,
        dhcp: DhcpConfig::default(),
        settings: oxide_vpc_api::PortSettings::default(),
    }
}

/// Why a request was refused.
fn refusal<T: std::fmt::Debug>(result: Result<T, opte_ioctl::Error>) -> OpteError {
    match result.unwrap_err() {
        opte_ioctl::Error::Refused(error) => error,
        other => panic!("{other}"),
    }
}

fn create(client: &mut OpteHdl, name: &str) -> Result<(), opte_ioctl::Error> {
    let number = name.bytes().last().unwrap();
    let name: PortName = name.parse().unwrap();
    client.request(&CreatePort { name, config: port_config(number) })
}

#[test]
fn devices_come_and_go_with_ports_and_the_process() {
    as_root("devices_come_and_go_with_ports_and_the_process", || {
        for signal in [Signal::TERM, Signal::INT] {
            let mut host = Host::started(&["--underlay", "lo"]);
            let mut client = host.client();
            create(&mut client, "opte0").unwrap();
            create(&mut client, "opte1").unwrap();
            assert!(host.has_link("opte0"));
            let shown = ip(&["-n", &host.netns, "link", "show", "opte1"]).stdout;
            assert!(String::from_utf8(shown).unwrap().contains("mtu 1400"));
            client.request(&DeletePort { name: "opte0".parse().unwrap() }).unwrap();
            assert!(!host.has_link("opte0") && host.has_link("opte1"));
            create(&mut client, "opte0").unwrap();

            let output = host.stop(signal);
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{log}");
            assert!(log.contains("stopped"), "{log}");
            assert!(!host.socket().exists());
            assert!(!host.has_link("opte0") && !host.has_link("opte1"));
        }
    });
}

#[test]
fn links_become_ports_and_stay() {
    as_root("links_become_ports_and_stay", || {
        let mut host = Host::started(&["--underlay", "lo", "--ports", "link", "--workers", "2"]);
        let mut client = host.client();
        let missing = create(&mut client, "opte0");
        assert_eq!(refusal(missing), OpteError::not_found("link", "opte0"));
        let pair = ["link", "add", "opte0", "type", "veth", "peer", "name", "guest0"];
        assert!(ip(&[&["-n", &host.netns], &pair[..]].concat()).status.success());
        create(&mut client, "opte0").unwrap();
        let shown = ip(&["-n", &host.netns, "link", "show", "opte0"]).stdout;
        assert!(String::from_utf8(shown).unwrap().contains("mtu 1400"));
        client.request(&DeletePort { name: "opte0".parse().unwrap() }).unwrap();
        create(&mut client, "opte0").unwrap();
        assert!(host.stop(Signal::TERM).status.success());
        assert!(host.has_link("opte0"));
    });
}

#[test]
fn what_the_system_refuses_is_told() {
    as_root("what_the_system_refuses_is_told", || {
        let host = Host::started(&[]);
        let mut client = host.client();
        assert!(ip(&["-n", &host.netns, "link", "add", "taken", "type", "veth"]).status.success());
        let missing = client.request(&SetUnderlay { links: vec!["none".into()] });
        assert_eq!(refusal(missing), OpteError::not_found("link", "none"));
        client.request(&SetUnderlay { links: vec!["lo".into()] }).unwrap();
        assert_eq!(client.request(&ShowUnderlay {}).unwrap().links, ["lo"]);
        let exists = OpteError::exists("network device", "taken");
        assert_eq!(refusal(create(&mut client, "taken")), exists);
        assert!(client.request(&ListPorts {}).unwrap().is_empty());
        // The Geneve port is freed, and can be taken again.
        client.request(&ClearUnderlay {}).unwrap();
        client.request(&SetUnderlay { links: vec!["lo".into()] }).unwrap();
        let sets = client.request(&DumpCounters { port: None }).unwrap();
        let served = sets.iter().flat_map(|set| &set.counters);
        let served = served.filter(|counter| counter.name == "control_requests");
        assert_eq!(served.map(|counter| counter.value).collect::<Vec<_>>(), [8]);
    });
}

#[test]
fn slow_and_wrong_clients_hold_up_nobody() {
    as_root("slow_and_wrong_clients_hold_up_nobody", || {
        let host = Host::started(&[]);
        let connect = || {
            let stream = UnixStream::connect(host.socket()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut slow = connect();
        slow.write_all(b"O").unwrap();
        let mut other_version = connect();
        let header = Header { version: API_VERSION + 1, code: 1, len: 3 };
        other_version.write_all(&header.to_bytes()).unwrap();
        other_version.write_all(&[1, 2, 3]).unwrap();
        let refused = OpteError::BadApiVersion {
            client: API_VERSION + 1,
            oldest: OLDEST_VERSION,
            newest: API_VERSION,
        };
        assert_eq!(answer(&mut other_version), refused);
        host.client().request(&ListPorts {}).unwrap();
        // As many as there may be, and one more.
        let mut held = vec![slow, other_version];
        while held.len() < MAX_CLIENTS {
            held.push(connect());
        }
        let limit = MAX_CLIENTS as u64;
        let what = "control connections at the same time".into();
        assert_eq!(answer_of_the_last(&host, &mut held), OpteError::Limit { what, limit });
    });
}

/// Connects until a connection is refused: those that have been closed may not be gone yet.
fn answer_of_the_last(host: &Host, held: &mut Vec<UnixStream>) -> OpteError {
    loop {
        let mut stream = UnixStream::connect(host.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let unknown = Header { version: API_VERSION, code: u16::MAX, len: 0 };
        // A refused connection may be closed before this is written.
        let _ = stream.write_all(&unknown.to_bytes());
        match answer(&mut stream) {
            OpteError::UnknownCommand(u16::MAX) => held.push(stream),
            other => return other,
        }
    }
}

fn answer(stream: &mut UnixStream) -> OpteError {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).unwrap();
    let header = Header::from_bytes(head, MAX_RESPONSE).unwrap();
    let mut body = vec![0; header.len as usize];
    stream.read_exact(&mut body).unwrap();
    decode_answer::<()>(header, &body).unwrap_err()
}

#[test]
fn a_bad_start_says_what_to_do() {
    as_root("a_bad_start_says_what_to_do", || {
        let host = Host::started(&[]);
        let fail = |args: &[&str], words: &str| {
            let output = host.command(args).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{args:?}");
            assert!(error.contains(words), "{args:?}: {error}");
        };
        fail(&[], "another process listens there");
        fail(&["--config", "/nowhere.toml"], "/nowhere.toml");
        fail(&["--log", "xde=loudly"], "log filter");
        fail(&["--underlay", "nowhere"], "link 'nowhere' does not exist");
        fail(&["--batch", "0"], "--batch");
        fail(&["extra"], "extra");
        let config = host.dir.join("xde.toml");
        std::fs::write(&config, "batchsize = 3\n").unwrap();
        fail(&["--config", config.to_str().unwrap()], "unknown field `batchsize`");
    });
}

#[test]
fn help_names_every_setting() {
    let output = Command::new(XDE).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["SOCKET", "CONFIG", "LOG", "UNDERLAY", "BATCH", "SPIN_US", "OFFLOADS"] {
        assert!(help.contains(&format!("XDE_{word}")), "{word}");
        let flag = format!("--{}", word.to_lowercase().replace('_', "-"));
        assert!(help.contains(&flag), "{flag}");
    }
    assert!(help.contains("boundary"));
}
