// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is typed, and the one request that it becomes.

mod changes;
mod moving;
mod parts;
mod routing;

use super::run;
use crate::cli::Cli;
use crate::console::{Console, Form, Xde};
use clap::Parser;
use opte_api::{Direction, MacAddr, OpteError};
use opte_ioctl::{Error, Request};
use oxide_vpc_api::request::*;
use oxide_vpc_api::saved::{self, Record, SavedPort};
use oxide_vpc_api::{
    Attachment, BoundaryEndpoint, BoundaryNat, DhcpConfig, ExternalIps, GatewayMap, GuestLocation,
    IpConfig, PortConfig, PortName, PortSettings, RouteEntry, SnatRange, V2bEntry, V2pEntry,
    WeightedRoute,
};
use std::fmt::Debug;
use std::str::FromStr;

const GATEWAY: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const OTHER_GATEWAY: &str = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";

/// Notes each request and refuses it.
#[derive(Default)]
struct Recorder {
    requests: Vec<(u16, serde_json::Value)>,
}

impl Xde for Recorder {
    fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        self.requests.push((R::CODE, serde_json::to_value(request).unwrap()));
        Err(Error::Refused(OpteError::BadState("recorded".into())))
    }
}

/// Runs a command line; its words are split at white space. Answers what was sent, and the error.
pub fn typed(line: &str, input: &str) -> (Vec<(u16, serde_json::Value)>, String) {
    let words = std::iter::once("opteadm").chain(line.split_whitespace());
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return (Vec::new(), error.to_string()),
    };
    let mut xde = Recorder::default();
    let mut console = Console {
        xde: &mut xde,
        form: Form::Table,
        input: &mut input.as_bytes(),
        out: &mut Vec::new(),
    };
    let error = run(cli.command, &mut console).unwrap_err().to_string();
    (xde.requests, error)
}

/// What a command that asks nobody writes.
pub fn silent(command: super::manual::ManualCommand) -> String {
    let (mut xde, mut out) = (Recorder::default(), Vec::new());
    let mut console =
        Console { xde: &mut xde, form: Form::Table, input: &mut &b""[..], out: &mut out };
    command.run(&mut console).unwrap();
    assert_eq!(xde.requests, []);
    String::from_utf8(out).unwrap()
}

fn check_input<R: Request>(line: &str, input: &str, expected: R) {
    let (requests, error) = typed(line, input);
    let expected = serde_json::to_value(expected).unwrap();
    assert_eq!(requests, [(R::CODE, expected)], "{line}: {error}");
}

fn check<R: Request>(line: &str, expected: R) {
    check_input(line, "", expected);
}

/// Nothing is sent, and the error has all these parts.
fn check_error(line: &str, parts: &[&str]) {
    let (requests, error) = typed(line, "");
    assert_eq!(requests, [], "{line}");
    for part in parts {
        assert!(error.contains(part), "{line}: no '{part}' in: {error}");
    }
}

fn of<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn port() -> PortName {
    of("opte0")
}

fn range(ip: &str, first_port: u16, last_port: u16) -> SnatRange {
    SnatRange { ip: of(ip), first_port, last_port }
}

fn dual_stack() -> CreatePort {
    let ipv4 = IpConfig {
        private_ip: of("172.30.0.5"),
        subnet: of("172.30.0.0/22"),
        gateway_ip: of("172.30.0.1"),
        external: ExternalIps {
            floating: vec![of("203.0.113.8")],
            ephemeral: Some(of("203.0.113.9")),
            snat: vec![range("203.0.113.7", 16384, 32767)],
        },
    };
    let ipv6 = IpConfig {
        private_ip: of("fd12::5"),
        subnet: of("fd12::/64"),
        gateway_ip: of("fd12::1"),
        external: ExternalIps {
            floating: vec![of("2001:db8::8"), of("2001:db8::9")],
            ephemeral: None,
            snat: vec![range("2001:db8::7", 1024, 2047)],
        },
    };
    let config = PortConfig {
        mac: of("a8:40:25:f0:00:01"),
        gateway_mac: of("a8:40:25:00:00:0a"),
        boundary_mac: of("a8:40:25:00:00:0b"),
        vni: of("100"),
        underlay_ip: of("fd00::1"),
        mtu: 8500,
        ipv4: Some(ipv4),
        ipv6: Some(ipv6),
        dhcp: DhcpConfig {
            hostname: Some(of("web")),
            host_domain: Some(of("example.com")),
            domain_search: vec![of("a.example"), of("b.example")],
            dns4: vec![of("1.1.1.1"), of("9.9.9.9")],
            dns6: vec![of("2606:4700::1111")],
        },
        settings: PortSettings::default(),
    };
    CreatePort { name: port(), config }
}

#[test]
fn create_xde_with_everything() {
    check(
        "create-xde opte0 --mac a8:40:25:f0:00:01 --vni 100 --underlay-ip fd00::1 --mtu 8500
         --gateway-mac a8:40:25:00:00:0a --boundary-mac a8:40:25:00:00:0b
         --private-ip4 172.30.0.5 --subnet4 172.30.0.0/22 --gateway-ip4 172.30.0.1
         --private-ip6 fd12::5 --subnet6 fd12::/64 --gateway-ip6 fd12::1
         --floating-ip 2001:db8::8 --floating-ip 203.0.113.8 --floating-ip 2001:db8::9
         --ephemeral-ip 203.0.113.9
         --snat 203.0.113.7:16384-32767 --snat [2001:db8::7]:1024-2047
         --hostname web --host-domain example.com --domain-search a.example,b.example
         --dns 1.1.1.1,2606:4700::1111,9.9.9.9",
        dual_stack(),
    );
}

/// A saved port without flows.
fn saved_port() -> Vec<u8> {
    let CreatePort { name, config } = dual_stack();
    let (gateways, prefixes) = Default::default();
    let port = SavedPort {
        name,
        config,
        gateways,
        prefixes,
        rules: vec![],
        routes: vec![],
        revision: None,
    };
    let mut bytes = saved::header();
    for record in [Record::Port(Box::new(port)), Record::Flows(vec![]), Record::End(0)] {
        bytes.extend(saved::encode(&record).unwrap());
    }
    bytes
}

#[test]
fn create_xde_with_little() {
    let mut expected = dual_stack();
    let config = &mut expected.config;
    config.gateway_mac = oxide_vpc_api::config::GATEWAY_MAC;
    config.boundary_mac = oxide_vpc_api::config::BOUNDARY_MAC;
    config.mtu = 1500;
    config.ipv4 = None;
    config.dhcp = DhcpConfig::default();
    let ipv6 = config.ipv6.as_mut().unwrap();
    ipv6.external = ExternalIps::default();
    ipv6.gateway_ip = of("fe80::aa40:25ff:feff:7777");
    check(
        "create-xde opte0 --mac a8:40:25:f0:00:01 --vni 100 --underlay-ip fd00::1
         --private-ip6 fd12::5 --subnet6 fd12::/64",
        expected,
    );
}

#[test]
fn create_xde_errors() {
    let base = "create-xde opte0 --mac a8:40:25:f0:00:01 --vni 100 --underlay-ip fd00::1";
    let ipv4 = "--private-ip4 172.30.0.5 --subnet4 172.30.0.0/22 --gateway-ip4 172.30.0.1";
    for (rest, parts) in [
        ("", ["--private-ip4", "--private-ip6"]),
        ("--private-ip4 172.30.0.5", ["--subnet4", "--gateway-ip4"]),
        ("--private-ip6 fd12::5", ["required", "--subnet6"]),
        ("--private-ip6 fd12::5 --subnet6 fd12::/64 --subnet4 10.0.0.0/8", ["", "--private-ip4"]),
        ("--private-ip6 fd12::5 --subnet6 10.0.0.0/8", ["subnet", "not IPv6"]),
        ("--private-ip6 fd12::5 --subnet6 fd13::/64", ["outside of", "fd13::/64"]),
    ] {
        check_error(&format!("{base} {rest}"), &parts);
    }
    for (rest, parts) in [
        ("--floating-ip 2001:db8::8", ["2001:db8::8", "add --private-ip6"]),
        ("--ephemeral-ip 10.0.0.1 --ephemeral-ip 10.0.0.2", ["10.0.0.1", "one for each family"]),
        ("--snat 10.0.0.1", ["--snat", "IP:FIRST-LAST"]),
        ("--snat 10.0.0.1:9-3", ["9-3", "no range"]),
        ("--mtu 1000", ["MTU", "1280"]),
        ("--mtu 70000", ["--mtu", "70000"]),
        ("--hostname a_b!", ["--hostname", "letters, digits"]),
        ("--dns 1.1.1.1,x", ["--dns", "'x'"]),
        ("--gateway-mac a8:40:25:f0:00:01", ["guest MAC", "gateway's"]),
    ] {
        check_error(&format!("{base} {ipv4} {rest}"), &parts);
    }
    check_error("create-xde 0pte --mac x", &["begins with a letter"]);
    check_error("create-xde opte0 --mac a8:40", &["--mac", "six hexadecimal octets"]);
    check_error("create-xde opte0 --vni 16777216", &["--vni", "16777215"]);
}

#[test]
fn commands_that_only_name_things() {
    check("delete-xde opte0", DeletePort { name: port() });
    check("list-ports", ListPorts {});
    check("set-xde-underlay net0 net1", SetUnderlay { links: vec!["net0".into(), "net1".into()] });
    check("clear-xde-underlay", ClearUnderlay {});
    check("show-xde-underlay", ShowUnderlay {});
    check("list-layers -p opte0", ListLayers { port: port() });
    check("dump-layer -p opte0 nat", DumpLayer::of(port(), "nat"));
    check("dump-uft --port opte0", DumpUft::of(port()));
    check("clear-lft -p opte0 nat", ClearLft { port: port(), layer: "nat".into() });
    check("clear-uft -p opte0", ClearUft { port: port() });
    check("dump-tcp-flows -p opte0", DumpTcpFlows::of(port()));
    check("dump-v2p", DumpV2p::default());
    check("dump-v2b", DumpV2b::default());
    check("list-boundary-nat", ListBoundaryNat {});
    check("stats", DumpCounters { port: None });
    check("stats -p opte0 --nonzero", DumpCounters { port: Some(port()) });
    check_error("set-xde-underlay", &["required", "INTERFACE"]);
    check_error("clear-uft", &["required", "--port <NAME>"]);
    check_error("dump-uft", &["required", "--port <NAME|NUMBER>"]);
    check_error("dump-layer -p opte0", &["required", "<LAYER>"]);
    check_error("list-ports extra", &["unexpected argument", "extra"]);
    check_error("list-port", &["list-ports"]);
}

#[test]
fn firewall_rules() {
    let text = "dir=in action=deny priority=10 hosts=subnet=10.0.0.0/8 protocol=tcp port=22,80-90";
    let add = AddFwRule { port: port(), rule: of(text) };
    check(&format!("add-fw-rule -p opte0 {text}"), add.clone());
    check(&format!("add-fw-rule {} -p opte0", text.to_uppercase()), add.clone());
    check(
        "add-fw-rule -p opte0 --dir in --action deny --priority 10 --hosts subnet=10.0.0.0/8
         --protocol tcp --ports 22,80-90",
        add,
    );
    let least = AddFwRule { port: port(), rule: of("dir=out action=allow priority=0") };
    check("add-fw-rule -p opte0 --dir out --action allow --priority 0", least);

    let remove = RemFwRule { port: port(), direction: Direction::In, id: 7 };
    check("rm-fw-rule -p opte0 --dir in 7", remove);

    let rules = vec![of(text), of("dir=out action=allow priority=0")];
    let input = format!("# mine\n{text}\n\ndir=out action=allow priority=0 # all\n");
    check_input("set-fw-rules -p opte0", &input, SetFwRules { port: port(), rules });
}

#[test]
fn firewall_errors() {
    check_error("add-fw-rule -p opte0", &["required", "--dir", "--action", "--priority"]);
    check_error("add-fw-rule -p opte0 --dir in --action allow", &["--priority"]);
    check_error(
        "add-fw-rule -p opte0 --dir up --action allow --priority 1",
        &["--dir", "[possible"],
    );
    check_error("add-fw-rule -p opte0 --dir in action=allow", &["cannot be used with"]);
    check_error("add-fw-rule -p opte0 dir=in action=allow", &["'priority' is missing"]);
    check_error("add-fw-rule -p opte0 dir=in allow", &["'allow' is not key=value"]);
    let flags = "add-fw-rule -p opte0 --dir in --action allow --priority";
    check_error(&format!("{flags} 70000"), &["priority '70000' is out of range"]);
    check_error(&format!("{flags} 1 --hosts 10.0.0.1"), &["hosts: use any, ip=ADDRESS"]);
    check_error(
        &format!("{flags} 1 --protocol icmp --ports 3"),
        &["protocol icmp has no ports here"],
    );
    check_error("rm-fw-rule -p opte0 --dir sideways 7", &["--dir", "'in' or 'out'"]);
    check_error("rm-fw-rule -p opte0 --dir in x", &["<ID>", "invalid digit"]);

    let (requests, error) = typed("set-fw-rules -p opte0", "# one\ndir=in\n");
    assert_eq!(requests, []);
    assert!(error.starts_with("line 2: ") && error.contains("'action' is missing"), "{error}");
}

#[test]
fn routes() {
    let route = |dest: &str, target: &str, class: &str| RouteEntry {
        dest: of(dest),
        target: of(target),
        class: of(class),
    };
    let gateway = format!("ig={GATEWAY}");
    for (dest, target, class) in [
        ("0.0.0.0/0", "ig", "system"),
        ("::/0", gateway.as_str(), "custom"),
        ("10.0.0.0/8", "drop", "custom"),
        ("10.1.0.0/16", "ip=172.30.0.9", "custom"),
        ("fd12::/64", "subnet=fd12::/64", "system"),
    ] {
        let (words, route) = (format!("{dest} {target} {class}"), route(dest, target, class));
        check(&format!("add-router-entry -p opte0 {words}"), AddRoute { port: port(), route });
        check(&format!("del-router-entry -p opte0 {words}"), DelRoute { port: port(), route });
    }
    let heavy = WeightedRoute { route: route("::/0", "blackhole", "custom"), weight: 9 };
    check(
        "add-router-entry -p opte0 ::/0 blackhole custom --weight 9",
        AddWeightedRoute { port: port(), route: heavy },
    );
    check_error("add-router-entry -p opte0 ::/0 ig custom --weight 0", &["at least 1"]);
    check("list-routes -p opte0", ListRoutes { port: port() });
    check("dump-gateways -p opte0", DumpGateways { port: port() });
    check_error("add-router-entry -p opte0 0.0.0.0/0 ig", &["required", "<CLASS>"]);
    check_error(
        "add-router-entry -p opte0 0.0.0.0/0 igw system",
        &["use drop, blackhole, ig, ig=UUID"],
    );
    check_error("add-router-entry -p opte0 0.0.0.0 ig system", &["<DEST>", "a prefix is"]);
    check_error("add-router-entry -p opte0 0.0.0.0/0 ig tenant", &["use system or custom"]);
    check_error("add-router-entry -p opte0 0.0.0.0/0 ip=::1 custom", &["one address family"]);
}

#[test]
fn mappings() {
    let mac: MacAddr = of("a8:40:25:f0:00:02");
    let location = GuestLocation { mac, underlay_ip: of("fd00::2") };
    for ip in ["172.30.0.6", "fd12::6"] {
        let entry = V2pEntry { vni: of("100"), ip: of(ip), location };
        check(&format!("set-v2p {ip} {mac} fd00::2 100"), SetV2p { entry });
        check(&format!("clear-v2p {ip} {mac} fd00::2 100"), ClearV2p { entry });
    }
    check_error("set-v2p 172.30.0.6 a8:40:25:f0:00:02 10.0.0.1 100", &["<UNDERLAY_IP>"]);
    check_error("set-v2p 172.30.0.6 a8:40:25:f0:00:02 fd00::2", &["required", "<VNI>"]);

    let endpoint = |ip: &str, vni: &str| BoundaryEndpoint { underlay_ip: of(ip), vni: of(vni) };
    let endpoints = vec![endpoint("fd00:b::1", "99"), endpoint("fd00:b::2", "77")];
    let entry = V2bEntry { prefix: of("0.0.0.0/0"), endpoints };
    let words = "0.0.0.0/0 fd00:b::1 fd00:b::2,vni=77";
    check(&format!("set-v2b {words}"), SetV2b { entry: entry.clone() });
    check(&format!("clear-v2b {words}"), ClearV2b { entry });
    check_error("set-v2b 0.0.0.0/0", &["required", "IPV6[,vni=N]"]);
    check_error("set-v2b 0.0.0.0/0 fd00:b::1,77", &["fd00:b::1,vni=77"]);
}

#[test]
fn external_addresses() {
    let ipv4 = ExternalIps {
        floating: vec![of("203.0.113.8")],
        ephemeral: Some(of("203.0.113.9")),
        snat: vec![range("203.0.113.7", 1, 2), range("203.0.113.7", 5, 6)],
    };
    let ipv6 = ExternalIps { floating: vec![of("2001:db8::8")], ..ExternalIps::default() };
    let (first, second) = (of(GATEWAY), of(OTHER_GATEWAY));
    let gateways = GatewayMap::from([
        (of("203.0.113.8"), [first, second].into()),
        (of("2001:db8::8"), [second].into()),
    ]);
    check(
        &format!(
            "set-external-ips -p opte0 --floating-ip 203.0.113.8 --floating-ip 2001:db8::8
             --ephemeral-ip 203.0.113.9 --snat 203.0.113.7:1-2 --snat 203.0.113.7:5-6
             --gateway 203.0.113.8={GATEWAY} --gateway 2001:db8::8={OTHER_GATEWAY}
             --gateway 203.0.113.8={OTHER_GATEWAY}"
        ),
        SetExternalIps { port: port(), ipv4: Some(ipv4), ipv6: Some(ipv6.clone()), gateways },
    );
    let none = SetExternalIps { port: port(), ipv4: None, ipv6: None, gateways: GatewayMap::new() };
    check(
        "set-external-ips -p opte0 --floating-ip 2001:db8::8",
        SetExternalIps { ipv6: Some(ipv6), ..none.clone() },
    );
    check("clear-external-ips -p opte0", none);

    let base = "set-external-ips -p opte0";
    check_error(base, &["required", "--floating-ip", "--ephemeral-ip", "--snat"]);
    for (rest, part) in [
        ("--floating-ip 10.0.0.1 --floating-ip 10.0.0.1", "listed twice"),
        ("--floating-ip 10.0.0.1 --snat 10.0.0.1:1-2", "already"),
        ("--snat 10.0.0.1:1-5 --snat 10.0.0.1:5-9", "overlap"),
        ("--floating-ip 224.0.0.1", "cannot be used outside"),
        ("--floating-ip 10.0.0.1 --gateway 10.0.0.1", "ADDRESS=UUID"),
    ] {
        check_error(&format!("{base} {rest}"), &[part]);
    }
    check_error(
        &format!("{base} --floating-ip 10.0.0.1 --gateway 10.0.0.2={GATEWAY}"),
        &["10.0.0.2", "no external address"],
    );
}

#[test]
fn boundary_entries() {
    let entry = |ip: &str, first_port, last_port| BoundaryNat {
        ip: of(ip),
        first_port,
        last_port,
        underlay_ip: of("fd00::1"),
        vni: of("100"),
        mac: of("a8:40:25:f0:00:01"),
    };
    for (text, entry) in [
        ("203.0.113.8", entry("203.0.113.8", 0, 65535)),
        ("203.0.113.7:16384-32767", entry("203.0.113.7", 16384, 32767)),
        ("2001:db8::7", entry("2001:db8::7", 0, 65535)),
        ("[2001:db8::7]:1-2", entry("2001:db8::7", 1, 2)),
    ] {
        let words = format!("{text} fd00::1 100 a8:40:25:f0:00:01");
        check(&format!("add-boundary-nat {words}"), AddBoundaryNat { entry });
        check(&format!("rm-boundary-nat {words}"), RemBoundaryNat { entry });
    }
    let rest = "fd00::1 100 a8:40:25:f0:00:01";
    check_error(&format!("add-boundary-nat 203.0.113.7:9-3 {rest}"), &["9-3 is no range"]);
    check_error(&format!("add-boundary-nat 203.0.113.7:x {rest}"), &["write IP:FIRST-LAST"]);
}

#[test]
fn prefixes() {
    check(
        "allow-cidr -p opte0 10.200.0.0/16",
        AllowCidr { port: port(), cidr: of("10.200.0.0/16"), direction: None },
    );
    check(
        "remove-cidr -p opte0 fd77::/32 --dir in",
        RemoveCidr { port: port(), cidr: of("fd77::/32"), direction: Some(Direction::In) },
    );
    for (flag, attachment) in [("", Attachment::Internal), ("--external", Attachment::External)] {
        let subnet = of("203.0.113.0/28");
        check(
            &format!("attach-subnet -p opte0 203.0.113.0/28 {flag}"),
            AttachSubnet { port: port(), subnet, attachment },
        );
    }
    check(
        "detach-subnet -p opte0 203.0.113.0/28",
        DetachSubnet { port: port(), subnet: of("203.0.113.0/28") },
    );
    check("list-prefixes -p opte0", ListPrefixes { port: port() });
    check_error("allow-cidr -p opte0 10.200.0.0/33", &["longer than the address"]);
}

#[test]
fn nat() {
    check("nat pools", DumpNatPools { port: None });
    check("nat pools -p opte0", DumpNatPools { port: Some(port()) });
    let leases = DumpNatLeases { port: port(), after: None, limit: 4096 };
    check("nat leases --port opte0", leases);
}
