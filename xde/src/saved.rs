// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Ports that move: what is kept of one, and another one that is made of it.
//!
//! A port is saved in parts, while it is paused, so no part has to wait for another in memory. It
//! is restored in one step of what was handed over in parts: either all of it is there then, leases
//! and all, or nothing is.

use crate::driver::Driver;
use crate::host::{Moment, Platform};
use crate::management::{Management, Prepared};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use opte::flow::Opening;
use opte::flow_key::FlowKey;
use opte::geneve::Mark;
use opte::headers::MacPair;
use opte::host::Host;
use opte::kept::{KeptError, KeptFlow, KeptSide};
use opte::nat::{Lease, NatBinding, NatPool, Remote};
use opte::tcp::{SeqNumber, Side, TcpState, TrackerParts};
use opte_api::{FlowId, OpteError, Protocol};
use oxide_vpc::VpcPort;
use oxide_vpc_api::request::{RestorePort, Restored, SaveFrom, SavePort, SavedPart, StageRestore};
use oxide_vpc_api::saved::{
    FLOWS_AT_ONCE, MAX_SAVED, Record, STAGE_BYTES, SavedFlow, SavedNat, SavedPort, SavedSide,
    SavedTcp, SavedTcpSide, decode, encode, header,
};
use oxide_vpc_api::{PortName, PortState};

/// States in which a port may be saved.
const SAVE: &[PortState] = &[PortState::Paused, PortState::Restored];

impl<H: Host> Management<H> {
    /// A part of what a port is.
    #[inline(never)]
    pub(crate) fn save(
        &mut self,
        now: Moment,
        SavePort { port: name, from }: SavePort,
    ) -> Result<SavedPart, OpteError> {
        if from.is_none() && self.port(&name)?.state == PortState::Running {
            self.set_state(&name, PortState::Paused, now)?;
        }
        self.permit(&name, "save it", SAVE)?;
        let managed = self.port(&name)?;
        let since = managed.since;
        let Some(from) = from else {
            let mut bytes = header();
            bytes.extend(encode(&Record::Port(Box::new(managed.vpc.saved(&name))))?);
            let next = SaveFrom { number: 0, flows: 0, since_ms: since.as_millis() };
            return Ok(SavedPart { bytes, next: Some(next) });
        };
        if from.since_ms != since.as_millis() {
            let why = format!("port '{name}' has run since it was saved: save it from the start");
            return Err(OpteError::BadState(why));
        }
        let (kept, number) = managed.device.port.kept(from.number, FLOWS_AT_ONCE);
        let flows: Vec<SavedFlow> = kept.iter().map(|flow| saved_flow(flow, since)).collect();
        let count = from.flows.saturating_add(flows.len() as u64);
        let mut bytes = encode(&Record::Flows(flows))?;
        if number.is_none() {
            bytes.extend(encode(&Record::End(count))?);
        }
        Ok(SavedPart {
            bytes,
            next: number.map(|number| SaveFrom { number, flows: count, ..from }),
        })
    }

    /// Takes a part of a saved port.
    pub(crate) fn stage(
        &mut self,
        StageRestore { offset, bytes }: StageRestore,
    ) -> Result<u64, OpteError> {
        if bytes.len() > STAGE_BYTES {
            let what = "bytes of a saved port at once".into();
            return Err(OpteError::Limit { what, limit: STAGE_BYTES as u64 });
        }
        let staged = self.staged.len() as u64;
        if offset > staged {
            let why = format!("{staged} bytes of a saved port are here: go on there, or at zero");
            return Err(OpteError::BadState(why));
        }
        if offset + bytes.len() as u64 > MAX_SAVED {
            let what = "bytes of a saved port".into();
            return Err(OpteError::Limit { what, limit: MAX_SAVED });
        }
        self.staged.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        self.staged.extend(bytes);
        Ok(self.staged.len() as u64)
    }

    /// Makes a port of what was handed over, which is forgotten whatever comes of it.
    #[inline(never)]
    pub(crate) fn restore(
        &mut self,
        driver: &Driver<H>,
        platform: &mut dyn Platform,
        now: Moment,
        request: RestorePort,
    ) -> Result<Restored, OpteError> {
        let staged = core::mem::take(&mut self.staged);
        if staged.len() as u64 != request.bytes {
            let why =
                format!("{} bytes of a saved port are here: hand it over again", staged.len());
            return Err(OpteError::BadState(why));
        }
        let (mut saved, flows) = decode(&staged)?;
        drop(staged);
        let name = request.name.unwrap_or(saved.name.clone());
        saved.config.underlay_ip = request.underlay_ip.unwrap_or(saved.config.underlay_ip);
        self.may_add(&name, &saved.config)?;
        let made = self.make(driver, &name, saved, &flows, now)?;
        let flows = made.device.port.flows().flows();
        self.add(platform, made, (PortState::Restored, now))?;
        // These connections have been opened; had the port not come to be, their external ports
        // would not have to wait.
        flows.iter().filter_map(|flow| flow.lease()).for_each(Lease::confirm);
        Ok(Restored { port: name, flows: flows.len() as u64 })
    }

    /// A port with these flows, which is not in use yet. If that fails, their leases have gone back.
    /// Flows on external ports that were taken away from the port before it was saved stay behind:
    /// who has them now has them for good.
    #[inline(never)]
    fn make(
        &self,
        driver: &Driver<H>,
        name: &PortName,
        saved: Box<SavedPort>,
        flows: &[SavedFlow],
        now: Moment,
    ) -> Result<Prepared<H>, OpteError> {
        let vpc = Box::new(VpcPort::restored(saved, self.space.holder(name.as_str()))?);
        let pool = vpc.nat_plan()?.all_shared();
        let made = self.prepare(driver, name, vpc)?;
        let port = &made.device.port;
        for flow in flows {
            let kept = kept_flow(flow, now)?;
            let [out, _] = &kept.sides;
            let protocol = out.key.protocol();
            if lent(&kept).is_some_and(|(ip, port)| !pool.lends(protocol, ip, port)) {
                continue;
            }
            let lease = reserve(&pool, &kept)?;
            port.enter_kept(&kept, lease).map_err(|error| match error {
                KeptError::Full => {
                    let (what, limit) = ("flows of a port".into(), port.flows().limit().into());
                    OpteError::Limit { what, limit }
                }
                KeptError::Exists => amiss(flow, "there is another one like it"),
            })?;
        }
        Ok(made)
    }
}

/// The external address and port that a flow had on loan.
fn lent(kept: &KeptFlow) -> Option<(IpAddr, u16)> {
    let binding = kept.binding.filter(|_| kept.leased)?;
    Some((binding.external_ip, binding.external_port?))
}

/// The lease that a flow had.
fn reserve(pool: &NatPool, kept: &KeptFlow) -> Result<Option<Lease>, OpteError> {
    let [out, _] = &kept.sides;
    let Some((ip, port)) = lent(kept) else { return Ok(None) };
    let protocol = out.key.protocol();
    // Filters are about who is outside.
    let remote = kept.binding.and_then(|binding| binding.remote);
    let key = remote.map_or(out.key, |remote| remote.outside(&out.key));
    let lease = pool.lease_exactly(&key, ip, port).ok_or_else(|| {
        OpteError::exists("external port of a saved flow", format!("{ip} {protocol} {port}"))
    })?;
    Ok(Some(lease))
}

fn amiss(flow: &SavedFlow, why: &str) -> OpteError {
    let [out, _] = &flow.sides;
    OpteError::invalid(format!("saved flow {}", out.flow), why)
}

fn saved_flow(kept: &KeptFlow, since: Moment) -> SavedFlow {
    let side = |side: KeptSide| SavedSide {
        flow: side.key.id(),
        packets: side.packets,
        bytes: side.bytes,
        idle_ms: since.since(side.last),
    };
    let tcp_side = |side: Side| SavedTcpSide {
        start: side.start.0,
        end: side.end.0,
        ack: side.ack.0,
        known: side.known,
    };
    SavedFlow {
        opened: kept.opening.direction,
        macs: [kept.opening.macs.dst(), kept.opening.macs.src()],
        mark: kept.opening.mark.to_bits(),
        sides: kept.sides.map(side),
        nat: match kept.binding {
            None => SavedNat::None,
            Some(NatBinding { external_port: None, .. }) => SavedNat::Address,
            Some(NatBinding { external_port: Some(_), .. }) => SavedNat::Port,
        },
        leased: kept.leased,
        tcp: kept.tcp.map(|parts| SavedTcp {
            sides: parts.sides.map(tcp_side),
            offer: parts.offer.0,
            states: parts.states.map(|state| state as u8),
        }),
    }
}

fn kept_flow(flow: &SavedFlow, now: Moment) -> Result<KeptFlow, OpteError> {
    let [out, inbound] = flow.sides;
    let keys = [key(&out.flow), key(&inbound.flow)];
    let [Some(out_key), Some(in_key)] = keys else {
        return Err(amiss(flow, "its addresses are of two families"));
    };
    let is_tcp = out.flow.protocol == Protocol::TCP;
    if out.flow.protocol != inbound.flow.protocol
        || out_key.is_ipv4() != in_key.is_ipv4()
        || is_tcp != flow.tcp.is_some()
    {
        return Err(amiss(flow, "its two directions do not fit"));
    }
    let side = |side: SavedSide, key| KeptSide {
        key,
        packets: side.packets,
        bytes: side.bytes,
        last: Moment::from_millis(now.as_millis().saturating_sub(side.idle_ms)),
    };
    let [dst, src] = flow.macs;
    let private_port = if out_key.is_query() { out_key.dst_port() } else { out_key.src_port() };
    let binding = |external_port: Option<u16>| NatBinding {
        private_ip: out_key.src(),
        external_ip: in_key.dst(),
        private_port: external_port.map_or(0, |_| private_port),
        external_port,
        remote: Remote::between(&out_key, &in_key.mirror()),
    };
    Ok(KeptFlow {
        opening: Opening {
            direction: flow.opened,
            macs: MacPair::new(dst, src),
            mark: Mark::from_bits(flow.mark),
        },
        sides: [side(out, out_key), side(inbound, in_key)],
        binding: match flow.nat {
            SavedNat::None => None,
            SavedNat::Address => Some(binding(None)),
            SavedNat::Port => Some(binding(Some(in_key.dst_port()))),
        },
        leased: flow.leased,
        tcp: flow.tcp.map(|tcp| parts(&tcp)).transpose().map_err(|why| amiss(flow, why))?,
    })
}

fn key(id: &FlowId) -> Option<FlowKey> {
    (id.src.is_ipv4() == id.dst.is_ipv4())
        .then(|| FlowKey::new(id.src, id.dst, id.protocol, [id.src_port, id.dst_port]))
}

fn parts(tcp: &SavedTcp) -> Result<TrackerParts, &'static str> {
    let state = |number: u8| TcpState::ALL.get(usize::from(number)).copied();
    let [Some(now), Some(before)] = tcp.states.map(state) else {
        return Err("there is no such TCP state");
    };
    let side = |side: SavedTcpSide| Side {
        start: SeqNumber(side.start),
        end: SeqNumber(side.end),
        ack: SeqNumber(side.ack),
        known: side.known,
    };
    let (sides, offer) = (tcp.sides.map(side), SeqNumber(tcp.offer));
    Ok(TrackerParts { sides, offer, states: [now, before] })
}
