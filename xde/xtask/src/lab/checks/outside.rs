// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Guests and the outside world.

use super::{Check, curl, curl_fails, in_url, ping};
use crate::lab::Lab;
use crate::lab::control::EMPTY_DESTINATIONS;
use crate::lab::topology::{BOUNDARY_OUTSIDE, GUESTS, ROUTER, SNAT_PORTS, guest, web};
use crate::lab::web::Visit;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;

const GROUP: &str = "The outside";
const ADDRESSES: &[&str] = &["dhcp4", "dhcp6", "router"];

pub const CHECKS: &[Check] = &[
    Check { group: GROUP, name: "snat", title: "curl through SNAT", needs: ADDRESSES, run: snat },
    Check {
        group: GROUP,
        name: "tagged-gateway",
        title: "curl through a second, tagged gateway",
        needs: ADDRESSES,
        run: tagged_gateway,
    },
    Check {
        group: GROUP,
        name: "empty-gateway",
        title: "a gateway without an address: denied, counted",
        needs: ADDRESSES,
        run: empty_gateway,
    },
    Check {
        group: GROUP,
        name: "floating",
        title: "inbound TCP to a floating address",
        needs: ADDRESSES,
        run: floating,
    },
    Check {
        group: GROUP,
        name: "ping-outside",
        title: "ping of the outside, both families",
        needs: ADDRESSES,
        run: ping_outside,
    },
    Check {
        group: GROUP,
        name: "traceroute",
        title: "traceroute to the outside, both families",
        needs: ADDRESSES,
        run: traceroute,
    },
];

/// Fetches the page of a web server from `g1`; answers how the server saw that.
fn visit(lab: &Lab, server: &str, family: usize, token: &str) -> Result<Visit> {
    let address = web(server).addresses[family];
    let url = lab.add_page(server, &format!("{token}-{family}"))?;
    let page = curl(lab, "g1", &format!("http://{}{url}", in_url(address)))?;
    ensure!(page == server, "{address} serves {page:?}");
    lab.web(server)?.visit(&url)
}

fn expect_client(visit: &Visit, address: &str) -> Result<()> {
    let expected: IpAddr = address.parse()?;
    ensure!(visit.address == expected, "the server saw {}, not {address}", visit.address);
    Ok(())
}

fn snat(lab: &mut Lab) -> Result<String> {
    let shared = guest("g1").external.snat.context("g1 has no SNAT address")?;
    let [first, last] = SNAT_PORTS;
    let mut seen = Vec::new();
    for (family, address) in shared.into_iter().enumerate() {
        let visit = visit(lab, "web1", family, "snat")?;
        expect_client(&visit, address)?;
        let port = visit.port;
        ensure!((first..=last).contains(&port), "port {port} is not in {first}-{last}");
        seen.push(format!("{}:{port}", in_url(address)));
    }
    Ok(format!("the server's log: {}", seen.join(", ")))
}

fn tagged_gateway(lab: &mut Lab) -> Result<String> {
    let own = guest("g1").external.floating.context("g1 has no floating address")?;
    for (family, address) in own.into_iter().enumerate() {
        expect_client(&visit(lab, "web2", family, "tagged")?, address)?;
    }
    Ok(format!("the server's log: {}, {}", own[0], own[1]))
}

fn empty_gateway(lab: &mut Lab) -> Result<String> {
    let from = guest("g1");
    let mut denied = 0;
    for address in EMPTY_DESTINATIONS {
        let url = format!("http://{}/", in_url(address));
        denied +=
            lab.counting(from, "out_drop_no_external_address", || curl_fails(lab, "g1", &url))?;
    }
    let shown = lab.tell(from.host.name, &["stats", "-p", from.name])?;
    ensure!(
        shown.contains("out_drop_no_external_address"),
        "`opteadm stats` does not show it:\n{shown}"
    );
    Ok(format!("`opteadm stats`: out_drop_no_external_address +{denied}"))
}

fn floating(lab: &mut Lab) -> Result<String> {
    let to = guest("g3");
    let own = to.external.floating.context("g3 has no floating address")?;
    let page = lab.add_page(to.name, "floating")?;
    let url = |family: usize| format!("http://{}{page}", in_url(own[family]));
    lab.counting(to, "in_drop_firewall_default", || curl_fails(lab, "web1", &url(0)))?;
    let id = lab.allow(to, 500, "hosts=any protocol=tcp port=80")?;
    let visits = [0, 1].map(|family| {
        let answer = curl(lab, "web1", &url(family))?;
        ensure!(answer == to.name, "{} serves {answer:?}", own[family]);
        expect_client(&lab.web(to.name)?.visit(&page)?, web("web1").addresses[family])
    });
    lab.disallow(to, &id)?;
    visits.into_iter().collect::<Result<()>>()?;
    Ok(format!("{}, {} reach {}; the guest sees the client's own address", own[0], own[1], to.name))
}

fn ping_outside(lab: &mut Lab) -> Result<String> {
    let mut times = Vec::new();
    for server in ["web1", "web2"] {
        for address in web(server).addresses {
            times.push(ping(lab, "g1", address)?);
        }
    }
    Ok(format!("by SNAT and by a floating address: {}", times.join(", ")))
}

fn traceroute(lab: &mut Lab) -> Result<String> {
    let from = GUESTS[0].name;
    for server in ["web1", "web2"] {
        for (family, target) in web(server).addresses.into_iter().enumerate() {
            let args = ["-n", "-q", "1", "-w", "1", "-m", "5", target];
            let text = lab.on(from, "traceroute", &args)?;
            let hops: Vec<&str> =
                text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            let expected = [BOUNDARY_OUTSIDE[family], ROUTER.addresses[family], target];
            ensure!(hops == expected, "hops to {server} are not {expected:?}:\n{text}");
        }
    }
    Ok("3 hops: the boundary, the outside's router, the server".into())
}
