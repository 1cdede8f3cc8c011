// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Requests of any bytes to a configured host.

use crate::hypervisor::{Agreeable, Hypervisor};
use crate::setting::{Guest, add_boundary, add_guest, add_peer};
use opte_api::frame::{
    API_VERSION, HEADER_LEN, Header, MAX_REQUEST, MAX_RESPONSE, OLDEST_VERSION, Request, Status,
    decode, encode_request,
};
use opte_api::{Direction, OpteError};
use oxide_vpc_api::request::{
    AddFwRule, AddRoute, AllowCidr, AttachSubnet, ClearUft, CreatePort, DelRoute, DeletePort,
    DetachSubnet, DumpCounters, DumpLayer, DumpTcpFlows, DumpUft, DumpV2b, DumpV2p, ListLayers,
    ListPorts, ListPrefixes, RemFwRule, RemoveCidr, SetExternalIps, SetFwRules, SetUnderlay,
    SetV2b, SetV2p, ShowUnderlay,
};
use oxide_vpc_api::{Attachment, GatewayMap, RouterTarget};
use xde::driver::DriverOptions;

const GUEST: Guest = Guest(5);

fn host() -> Hypervisor {
    let mut host = Hypervisor::new(DriverOptions::new(7));
    add_guest(&mut host, GUEST, 0);
    add_peer(&mut host, Guest(7), 1);
    add_boundary(&mut host);
    host
}

/// Everything of a host that a request could have changed.
fn seen(host: &mut Hypervisor) -> String {
    let port = GUEST.port();
    let mut text = format!("{:?}", host.request(&ListPorts {}));
    text += &format!("{:?}", host.request(&ShowUnderlay {}));
    text += &format!("{:?}", host.request(&DumpV2p::default()));
    text += &format!("{:?}", host.request(&DumpV2b::default()));
    text += &format!("{:?}", host.request(&DumpUft::of(port.clone())));
    text += &format!("{:?}", host.request(&ListPrefixes { port: port.clone() }));
    for layer in ["gateway", "firewall", "router", "nat", "overlay"] {
        let dump = DumpLayer::of(port.clone(), layer);
        text += &format!("{:?}", host.request(&dump));
    }
    text
}

/// Plays `data` as the frame of a request: its header, and all the rest as its body.
pub fn control(data: &[u8]) {
    let Some((head, body)) = data.split_first_chunk::<HEADER_LEN>() else { return };
    let Ok(header) = Header::from_bytes(*head, MAX_REQUEST) else { return };
    let mut host = host();
    let before = seen(&mut host);
    let answer = host.driver.control(&mut Agreeable, host.now, header, body);
    let (head, body) = answer.split_first_chunk::<HEADER_LEN>().expect("an answer has a header");
    let answer = Header::from_bytes(*head, MAX_RESPONSE).expect("a good header");
    assert_eq!(answer.len as usize, body.len(), "the header tells the length");
    let served = (OLDEST_VERSION..=API_VERSION).contains(&header.version);
    assert_eq!(answer.version, if served { header.version } else { API_VERSION });
    if answer.code == Status::Refused as u16 {
        let refusal: OpteError = decode(body).expect("a refusal decodes");
        assert!(!refusal.to_string().is_empty());
        assert_eq!(before, seen(&mut host), "refused ({refusal}), but something has changed");
    }
    seen(&mut host);
}

/// A good request of each kind.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    fn frame<R: Request>(request: &R) -> Vec<u8> {
        encode_request(request).expect("a good request")
    }
    let port = GUEST.port();
    let rule = "dir=in action=allow priority=10 protocol=tcp port=22,80-90".parse().expect("good");
    let rules = vec!["dir=out action=deny priority=1 hosts=vni=100".parse().expect("good")];
    let route = crate::setting::route(crate::setting::everywhere(true), RouterTarget::Drop);
    let subnet = crate::setting::subnet(true);
    let v2p = oxide_vpc_api::V2pEntry {
        vni: crate::setting::vni(crate::setting::VPC),
        ip: Guest(8).ip(true),
        location: Guest(8).location(1),
    };
    let v2b = oxide_vpc_api::V2bEntry {
        prefix: crate::setting::everywhere(false),
        endpoints: vec![crate::setting::boundary()],
    };
    let external = SetExternalIps {
        port: port.clone(),
        ipv4: Some(GUEST.external(true)),
        ipv6: Some(GUEST.external(false)),
        gateways: GatewayMap::new(),
    };
    vec![
        frame(&ListPorts {}),
        frame(&CreatePort { name: Guest(9).port(), config: Guest(9).config(0) }),
        frame(&DeletePort { name: port.clone() }),
        frame(&SetUnderlay { links: vec!["eth0".into()] }),
        frame(&ListLayers { port: port.clone() }),
        frame(&DumpLayer::of(port.clone(), "nat")),
        frame(&DumpUft::of(port.clone())),
        frame(&ClearUft { port: port.clone() }),
        frame(&DumpTcpFlows::of(port.clone())),
        frame(&DumpCounters { port: None }),
        frame(&AddFwRule { port: port.clone(), rule }),
        frame(&RemFwRule { port: port.clone(), direction: Direction::In, id: 0 }),
        frame(&SetFwRules { port: port.clone(), rules }),
        frame(&AddRoute { port: port.clone(), route }),
        frame(&DelRoute { port: port.clone(), route }),
        frame(&AttachSubnet { port: port.clone(), subnet, attachment: Attachment::Internal }),
        frame(&DetachSubnet { port: port.clone(), subnet }),
        frame(&AllowCidr { port: port.clone(), cidr: subnet, direction: None }),
        frame(&RemoveCidr { port, cidr: subnet, direction: None }),
        frame(&SetV2p { entry: v2p }),
        frame(&SetV2b { entry: v2b }),
        frame(&external),
    ]
}
