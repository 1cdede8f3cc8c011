// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Packets: between guests, to other hosts and back, in long chains, with work left to do, and when
//! there is no memory.

use super::{KERNELS, Setting};
use crate::host::Host;
use crate::scene::{
    FAR, HERE, NOBODY, arrive, as_received, as_tunnelled, datagram, got, host, inside, opening,
    segment, send, send_with, tunnelled,
};
use anyhow::{Context as _, Result, ensure};
use illumos_sys_hdrs::oxide::pattr::{HCK_INNER_FULL_OK, HCK_INNER_PARTIAL};
use illumos_sys_hdrs::sys::mac::{
    MAC_PROP_MTU, MAC_STAT_IFSPEED, MAC_STAT_IPACKETS, MAC_STAT_OPACKETS,
};
use illumos_sys_hdrs::sys::mac_offload::{MAC_CAPAB_HCKSUM, MAC_CAPAB_LSO};
use illumos_sys_hdrs::sys::pattr::{HCK_IPV4_HDRCKSUM, HCK_PARTIALCKSUM, HW_LSO};
use opte_api::OpteError;
use opte_tests::hypervisor::Played;
use oxide_vpc_api::request::DeletePort;
use xde_illumos_shim::context::Context;
use xde_illumos_shim::emulate;
use xde_illumos_shim::kmem;
use xde_illumos_shim::mac::Abilities;
use xde_illumos_shim::modules::Kernel;
use xde_illumos_shim::offload::Facts;

const CONTEXTS: [Context; 2] = [Context::Interrupt, Context::Kernel];

/// Guest to guest, guest to the other host, and back; what is not ours goes to IP.
pub fn everywhere(setting: &Setting<'_>) -> Result<String> {
    let [(five, at5), (six, at6)] = HERE;
    for kernel in KERNELS {
        let mut host = host(setting.loaded(), setting.options(kernel))?;
        for context in CONTEXTS {
            let frame = datagram(five, six, [1000, 53], b"near");
            send(&mut host, at5, std::slice::from_ref(&frame), context);
            ensure!(got(&mut host) == [(at6, as_received(&frame, six))], "to a neighbour");
            let frame = datagram(five, FAR, [1000, 53], b"far");
            send(&mut host, at5, std::slice::from_ref(&frame), context);
            let sent = host.sent();
            ensure!(sent.len() == 1 && got(&mut host).is_empty(), "{sent:?}");
            ensure!(inside(&sent[0])? == as_tunnelled(&frame, FAR), "to another host");
            ensure!(sent[0].hint != 0 && sent[0].facts == Facts::default(), "{:?}", sent[0]);
            let answer = datagram(FAR, five, [53, 1000], b"and back");
            arrive(&mut host, &[tunnelled(&answer, five)], context);
            ensure!(got(&mut host) == [(at5, as_received(&answer, five))], "from another host");
        }
        geneve_and_else(&mut host, kernel)?;
        host.shut_down()?;
    }
    Ok("near, far and back on both kernels, in both contexts; IP gets the rest".into())
}

/// On mainline IP has the originals; on the other kernel it has what is not Geneve.
fn geneve_and_else(host: &mut Host, kernel: Kernel) -> Result<()> {
    let (five, at5) = HERE[0];
    let ours = tunnelled(&datagram(FAR, five, [53, 1000], b"ours"), five);
    let other = datagram(FAR, five, [9, 9], b"not ours");
    host.stack();
    for context in CONTEXTS {
        let chain = [other.clone(), ours.clone(), other.clone(), other.clone(), ours.clone()];
        arrive(host, &chain, context);
        let stack: Vec<_> = host.stack().into_iter().map(|out| out.bytes).collect();
        match kernel {
            Kernel::Mainline => ensure!(stack == chain, "IP has lost originals"),
            Kernel::Oxide => ensure!(stack == vec![other.clone(); 3], "IP gets {stack:x?}"),
        }
        let got = got(host);
        ensure!(got.len() == 2 && got.iter().all(|(port, _)| *port == at5), "{got:x?}");
    }
    Ok(())
}

/// Chains longer than a burst, for two guests and the underlay at once, keep their order.
pub fn chains(setting: &Setting<'_>) -> Result<String> {
    let [(five, at5), (six, at6)] = HERE;
    let count: u16 = if setting.plain { 70 } else { 300 };
    for kernel in KERNELS {
        let mut host = host(setting.loaded(), setting.options(kernel))?;
        let to = |number: u16| [six, FAR][usize::from(number % 3 == 2)];
        let frame = |number: u16| {
            datagram(five, to(number), [2000, 53], format!("number {number}").as_bytes())
        };
        let frames: Vec<_> = (0..count).map(frame).collect();
        for context in CONTEXTS {
            send(&mut host, at5, &frames, context);
            let near: Vec<_> = got(&mut host);
            let expected: Vec<_> = (0..count)
                .filter(|number| to(*number) == six)
                .map(|number| (at6, as_received(&frame(number), six)))
                .collect();
            ensure!(
                near == expected,
                "packets to a neighbour, {} of {}",
                near.len(),
                expected.len()
            );
            let far = host.sent().iter().map(inside).collect::<Result<Vec<_>>>()?;
            let expected: Vec<_> = (0..count)
                .filter(|number| to(*number) == FAR)
                .map(|number| as_tunnelled(&frame(number), FAR))
                .collect();
            ensure!(far == expected, "packets to another host");
        }
        host.shut_down()?;
    }
    Ok(format!("chains of {count} packets keep their order"))
}

/// Facts of a large segment, whose checksums are not there.
fn large(frame: &[u8], mss: u32, ipv4: bool) -> Result<Facts> {
    let [start, stuff] = emulate::places(frame).context("a transport")?;
    let ip = if ipv4 { HCK_IPV4_HDRCKSUM } else { 0 };
    let lso = if mss > 0 { HW_LSO } else { 0 };
    let flags = HCK_PARTIALCKSUM | ip | lso;
    Ok(Facts { flags, start, stuff, mss, ..Facts::default() })
}

/// What a guest's stack leaves to the link is done: by the link if it can, else in software.
pub fn offloads(setting: &Setting<'_>) -> Result<String> {
    let cuts = |cuts| Abilities { cuts, foreign: false };
    let all = [(Kernel::Mainline, false), (Kernel::Oxide, false), (Kernel::Oxide, true)];
    for (kernel, able) in all {
        let mut options = setting.options(kernel);
        options.abilities = cuts(able);
        let mut host = host(setting.loaded(), options)?;
        let families = if kernel == Kernel::Mainline { &[true][..] } else { &[true, false] };
        for ipv4 in families {
            one_family(&mut host, kernel, able, *ipv4)
                .with_context(|| format!("{kernel:?}, able: {able}, IPv4: {ipv4}"))?;
        }
        verified(&mut host, kernel)?;
        host.shut_down()?;
    }
    Ok("large segments and partial checksums arrive right, whoever does the work".into())
}

fn one_family(host: &mut Host, kernel: Kernel, able: bool, ipv4: bool) -> Result<()> {
    let [(five, at5), (six, at6)] = HERE;
    for to in [six, FAR] {
        send(host, at5, &[opening(five, to, ipv4)], Context::Interrupt);
        drop((got(host), host.sent()));
        let payload: Vec<u8> = (0..5000_u32).map(|it| it as u8).collect();
        for (len, mss) in [(100, 0), (5000, 1000), (5000, 1440), (999, 1000)] {
            let whole = segment(five, to, ipv4, &payload[..len]);
            let mut frame = emulate::partial(&whole).context("a transport")?;
            if ipv4 {
                // The checksum of the IP header is left to do, too.
                frame[24..26].fill(0);
            }
            send_with(host, at5, &frame, large(&frame, mss, ipv4)?);
            let (near, far) = (host.received(), host.sent());
            if to == FAR {
                ensure!(near.is_empty(), "a neighbour gets it");
                far_ones(&far, &whole, mss, able).with_context(|| format!("{len}, {mss}"))?;
                continue;
            }
            ensure!(far.is_empty() && near.iter().all(|(port, _)| *port == at6), "it leaves");
            let expected = match (kernel, mss) {
                (Kernel::Mainline, mss) if mss > 0 && len > mss as usize => {
                    emulate::cut(&whole, mss as usize).context("cut")?
                }
                _ => vec![whole.clone()],
            };
            let expected: Vec<_> = expected.iter().map(|it| as_received(it, six)).collect();
            let near: Vec<_> = near.into_iter().map(|(_, out)| out.bytes).collect();
            ensure!(near == expected, "{len} bytes by {mss}: {} packets", near.len());
        }
    }
    Ok(())
}

fn far_ones(far: &[crate::host::Out], whole: &[u8], mss: u32, able: bool) -> Result<()> {
    let inner = far.iter().map(inside).collect::<Result<Vec<_>>>()?;
    let cut = mss > 0 && whole.len() > mss as usize + 100;
    if !able {
        let expected = match cut {
            true => emulate::cut(whole, mss as usize).context("cut")?,
            false => vec![whole.to_vec()],
        };
        let expected: Vec<_> = expected.iter().map(|it| as_tunnelled(it, FAR)).collect();
        ensure!(inner == expected, "{} packets", inner.len());
        ensure!(far.iter().all(|out| out.facts.flags == 0), "something is left to do");
        return Ok(());
    }
    ensure!(inner.len() == 1, "{} packets", inner.len());
    let facts = far[0].facts;
    ensure!(facts.flags & HCK_INNER_PARTIAL != 0, "flags {:#x}", facts.flags);
    // To ask for segments where there is one does no harm.
    let asked = facts.flags & HW_LSO != 0;
    ensure!(asked || !cut, "{facts:?}");
    ensure!(facts.mss == if asked { mss } else { 0 }, "{facts:?}");
    let [Some(outer), Some(inside)] = facts.headers else { anyhow::bail!("no headers: {facts:?}") };
    let header = 14 + 40 + 8 + usize::from(outer.meoi_tunhlen);
    ensure!(header + inner[0].len() == far[0].bytes.len(), "{outer:?}");
    ensure!(outer.meoi_len as usize == far[0].bytes.len(), "{outer:?}");
    ensure!(inside.meoi_len as usize == inner[0].len(), "{inside:?}");
    // What the link makes of it is right.
    let made = match asked {
        true => emulate::cut(&inner[0], mss as usize),
        false => emulate::completed(&inner[0]).map(|it| vec![it]),
    };
    let expected = match cut {
        true => emulate::cut(whole, mss as usize),
        false => Some(vec![whole.to_vec()]),
    };
    let expected: Option<Vec<_>> =
        expected.map(|all| all.iter().map(|it| as_tunnelled(it, FAR)).collect());
    ensure!(made == expected, "what the link makes of it");
    Ok(())
}

/// A link has verified what is inside: the guest is told so, on a kernel that can say it.
fn verified(host: &mut Host, kernel: Kernel) -> Result<()> {
    let (five, at5) = HERE[0];
    let frame = tunnelled(&datagram(FAR, five, [53, 1000], b"verified"), five);
    let facts = Facts { flags: HCK_INNER_FULL_OK, ..Facts::default() };
    let message = host.inside(|| {
        let message = xde_illumos_shim::message::of(&frame, 0);
        xde_illumos_shim::message::set_facts(message, facts);
        message
    });
    host.arrive(message, Context::Kernel);
    let got = host.received();
    ensure!(got.len() == 1 && got[0].0 == at5, "{got:?}");
    ensure!((got[0].1.facts.flags != 0) == (kernel == Kernel::Oxide), "{:?}", got[0].1.facts);
    Ok(())
}

/// What guests may ask of their link, and that it cannot be taken from them.
pub fn links(setting: &Setting<'_>) -> Result<String> {
    let [(five, at5), (six, at6)] = HERE;
    for kernel in KERNELS {
        let mut host = host(setting.loaded(), setting.options(kernel))?;
        let frame = datagram(five, six, [1000, 53], b"counted");
        send(&mut host, at5, &[frame], Context::Interrupt);
        ensure!(got(&mut host).len() == 1, "it arrives");
        let shown = host.with_guest(at5, |guest| {
            let property = guest.property(MAC_PROP_MTU);
            let (mtu, up) = guest.link();
            ensure!(up && property.default == Some(mtu), "{property:?}, {mtu}");
            ensure!(property.range == Some((mtu, mtu)) && property.permission == Some(1), "perm");
            ensure!(guest.set_mtu(mtu) == 0 && guest.set_mtu(mtu + 1) != 0, "the MTU is changed");
            ensure!(guest.set_address(five.mac().0) == 0, "its own address");
            ensure!(guest.set_address(NOBODY.0) != 0, "an address of nobody's");
            ensure!(guest.promiscuous() == 0, "it may listen");
            ensure!(guest.statistic(MAC_STAT_IFSPEED).is_some_and(|it| it > 0), "speed");
            ensure!(guest.statistic(MAC_STAT_OPACKETS) == Some(1), "packets out");
            ensure!(guest.statistic(1).is_none(), "a statistic that there is not");
            let sums = guest.capability(MAC_CAPAB_HCKSUM).map(|it| it[0]);
            ensure!(sums == Some(2), "checksums: {sums:?}");
            let lso = guest.capability(MAC_CAPAB_LSO).map(|it| it[0]);
            let both = if kernel == Kernel::Oxide { 3 } else { 1 };
            ensure!(lso == Some(both), "segmentation: {lso:?}");
            Ok(())
        });
        shown.context("no guest")??;
        let packets = host.with_guest(at6, |guest| guest.statistic(MAC_STAT_IPACKETS));
        ensure!(packets == Some(Some(1)), "packets in: {packets:?}");
        busy(&mut host)?;
        host.shut_down()?;
    }
    Ok("numbers, capabilities and properties; links in use stay".into())
}

/// A port whose link somebody has open is not deleted, however it is open, and still works.
fn busy(host: &mut Host) -> Result<()> {
    let [(five, at5), (six, at6)] = HERE;
    for (guest, _) in HERE {
        let delete = opte_api::frame::encode_request(&DeletePort { name: guest.port() })?;
        let answer = host.ioctl(xde_illumos_shim::ddi::Who::Privileged, &delete);
        let answer = answer.map_err(|error| anyhow::anyhow!("error {error}"))?;
        let (header, body) = answer.split_first_chunk().context("no header")?;
        let header = opte_api::frame::Header::from_bytes(*header, u32::MAX)?;
        let refused = opte_api::frame::decode_answer::<()>(header, body);
        ensure!(
            matches!(&refused, Err(OpteError::BadState(why)) if why.contains("in use")),
            "{refused:?}"
        );
        let frame = datagram(five, six, [1000, 53], b"still there");
        send(host, at5, &[frame], Context::Kernel);
        ensure!(got(host).iter().all(|(port, _)| *port == at6), "it does not work any more");
    }
    Ok(())
}

/// Without memory packets are lost and counted, and nothing else; with memory all is as before.
pub fn no_memory(setting: &Setting<'_>) -> Result<String> {
    let [(five, at5), (six, at6)] = HERE;
    let mut lost = 0;
    for kernel in KERNELS {
        let mut host = host(setting.loaded(), setting.options(kernel))?;
        let before = host.inside(kmem::bytes_out);
        // The first packet of each connection has a flow to make; the second has none.
        for round in 0..20_u16 {
            host.inside(|| kmem::exhaust(true));
            for to in [six, FAR, six, FAR] {
                let frame = datagram(five, to, [3000 + round, 53], b"into nothing");
                host.shape = crate::shape::Shape { cuts: vec![20], ..Default::default() };
                Played::guest_sends(&mut host, at5, opte::frame::FlatFrame::new(frame));
            }
            host.inside(|| kmem::exhaust(false));
        }
        host.shape = crate::shape::Shape::default();
        lost += host.counter("lost_no_memory") + host.counter("lost_memory_low");
        let frame = datagram(five, six, [3000, 53], b"again");
        send(&mut host, at5, std::slice::from_ref(&frame), Context::Interrupt);
        ensure!(got(&mut host) == [(at6, as_received(&frame, six))], "it does not recover");
        let after = host.inside(kmem::bytes_out);
        ensure!(after < before + (256 << 10), "memory grows from {before} to {after}");
        host.shut_down()?;
    }
    ensure!(lost > 0, "nothing was lost");
    Ok(format!("{lost} packets were lost, and counted"))
}
