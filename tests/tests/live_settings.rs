// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is set for a port takes effect while it runs, and costs no flow.

use opte_tests::hypervisor::Hypervisor;
use opte_tests::scenario::check;
use opte_tests::setting::{Guest, add_boundary, add_guest};
use oxide_vpc_api::PortSettings;
use oxide_vpc_api::request::{SetPortSettings, ShowPortSettings};
use xde::driver::DriverOptions;

#[test]
fn defaults_are_those_of_the_rfcs() {
    // RFC 4787, REQ-5; RFC 5508, REQ-2; RFC 5382, REQ-5; RFC 7857, sections 2.1 and 2.2.
    check(
        "g5 -> out udp 1:80 => out
         wait 299s
         flows g5 = 1
         wait 2s
         flows g5 = 0
         g5 -> out ping 1 => out
         wait 59s
         flows g5 = 1
         wait 2s
         flows g5 = 0
         g5 -> out tcp:S 1:80 => out
         wait 239s
         flows g5 = 1
         wait 2s
         flows g5 = 0",
    );
}

#[test]
fn idle_limits_reach_live_flows() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out udp 1000:80 => out from g5.snat:$u
         out -> g5.snat udp 80:$u => g5
         wait 100s
         set g5 = idle.udp=120 idle.tcp_established=7440
         flows g5 = 2
         # Shorter, and counted from the last packet.
         wait 21s
         flows g5 = 1
         wait 7318s
         tcp g5 = ESTABLISHED
         # Longer, just in time.
         set g5 = idle.tcp_established=8000
         wait 500s
         tcp g5 = ESTABLISHED
         g5 -> out tcp:A 1000:80 => out from g5.snat:$t
         set g5 = idle.short=true idle.tcp_established=5
         wait 6s
         flows g5 = 0",
    );
}

#[test]
fn a_lower_flow_limit_evicts_what_is_too_many() {
    check(
        "g5 -> out tcp:S 1000:80 => out from g5.snat:$t
         out -> g5.snat tcp:SA 80:$t => g5
         g5 -> out tcp:A 1000:80 => out
         g5 -> out udp 1:80 => out
         g5 -> out udp 2:80 => out
         set g5 = flows.limit=3
         count g5 flow_limit = 3
         count g5 flows_evicted = 0
         set g5 = flows.limit=2
         count g5 flows_evicted = 1
         tcp g5 = ESTABLISHED
         g5 -> out udp 3:80 => out
         flows g5 = 2
         count g5 flows_evicted = 2
         set g5 = flows.limit=4
         g5 -> out udp 4:80 => out
         g5 -> out udp 5:80 => out
         flows g5 = 4
         count g5 flows_evicted = 2
         set g5 = flows.limit=null
         count g5 flow_limit = 4096",
    );
}

#[test]
fn a_refused_setting_changes_nothing() {
    let mut host = Hypervisor::new(DriverOptions { flow_limit: 100, ..DriverOptions::new(5) });
    add_boundary(&mut host);
    add_guest(&mut host, Guest(5), 0);
    let port = Guest(5).port();
    let mut settings = PortSettings::default();
    settings.idle.udp = 119;
    let mut many = PortSettings::default();
    many.flows.limit = Some(101);
    let mut none = PortSettings::default();
    none.flows.limit = Some(0);
    for (settings, part) in [(settings, "idle.udp"), (many, "limit reached"), (none, "flow limit")]
    {
        let error = host.request(&SetPortSettings { port: port.clone(), settings }).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        let shown = host.request(&ShowPortSettings { port: port.clone() }).unwrap();
        assert_eq!(shown, PortSettings::default());
    }
    let nobody = "nobody".parse().unwrap();
    let settings = PortSettings::default();
    let error = host.request(&SetPortSettings { port: nobody, settings }).unwrap_err();
    assert!(error.to_string().contains("'nobody' does not exist"), "{error}");
}
