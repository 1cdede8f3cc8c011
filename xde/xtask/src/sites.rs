// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a probe costs that nobody watches, read from the program's own instructions.
//!
//! A tracer raises a probe's counter when it begins to watch (`.note.stapsdt`). Each site must be
//! behind a test of that counter: no way leads from where its function begins to the site but by the branch
//! that is taken when the counter is not zero.

use anyhow::{Context, Result, bail, ensure};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Elf<'a> = ElfFile64<'a, LittleEndian>;

/// A place where a probe fires.
struct Site {
    at: u64,
    counter: u64,
    probe: String,
}

/// Checks all probe sites of a program with symbols, and says how many there are.
pub fn check(program: &Path) -> Result<usize> {
    let data = std::fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let elf = Elf::parse(&*data)?;
    let sites = sites(&elf)?;
    ensure!(!sites.is_empty(), "{} has no probes", program.display());
    let slots = addresses(&elf);
    for site in &sites {
        let code = Function::holding(&elf, site.at)?;
        let guards = code.guards(site.counter, &slots);
        ensure!(!guards.is_empty(), "nothing tests the counter of {} in {}", site.probe, code.name);
        if code.reachable(&guards).contains(&site.at) {
            bail!("{} at {:#x} of {} fires unwatched", site.probe, site.at, code.name);
        }
    }
    Ok(sites.len())
}

/// Reads the notes: address of the site, of the link-time base, of the counter; three strings.
fn sites(elf: &Elf<'_>) -> Result<Vec<Site>> {
    let notes = elf.section_by_name(".note.stapsdt").context("there is no .note.stapsdt")?;
    let (mut rest, mut sites) = (notes.data()?, Vec::new());
    let word = |bytes: &[u8], at: usize| -> Result<u64> {
        let eight = bytes.get(at..at + 8).context("a note ends early")?;
        Ok(u64::from_le_bytes(eight.try_into()?))
    };
    while rest.len() >= 12 {
        let len = |at: usize| -> Result<usize> { Ok((word(rest, at)? & 0xffff_ffff) as usize) };
        let (name, desc) = (len(0)?.next_multiple_of(4), len(4)?);
        let body = rest.get(12 + name..12 + name + desc).context("a note ends early")?;
        let probe = body.get(24..).unwrap_or_default().split(|byte| *byte == 0).nth(1);
        sites.push(Site {
            at: word(body, 0)?,
            counter: word(body, 16)?,
            probe: String::from_utf8_lossy(probe.unwrap_or_default()).into_owned(),
        });
        rest = rest.get(12 + name + desc.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(sites)
}

/// Addresses that the loader writes into the program, by where.
fn addresses(elf: &Elf<'_>) -> BTreeMap<u64, u64> {
    let all = elf.dynamic_relocations().into_iter().flatten();
    let known = all.filter_map(|(at, relocation)| match relocation.target() {
        RelocationTarget::Symbol(index) => {
            let symbol = elf
                .dynamic_symbol_table()
                .and_then(|table| object::ObjectSymbolTable::symbol_by_index(&table, index).ok())?;
            Some((at, symbol.address().wrapping_add_signed(relocation.addend())))
        }
        RelocationTarget::Absolute => Some((at, relocation.addend() as u64)),
        _ => None,
    });
    known.collect()
}

/// The instructions of a function.
struct Function {
    name: String,
    code: BTreeMap<u64, Instruction>,
}

impl Function {
    fn holding(elf: &Elf<'_>, at: u64) -> Result<Self> {
        let holds = |symbol: &object::read::elf::ElfSymbol64<'_, '_, LittleEndian>| {
            let (start, size) = (symbol.address(), symbol.size());
            symbol.kind() == SymbolKind::Text && (start..start + size).contains(&at)
        };
        let symbol = elf.symbols().find(holds).context("a probe is in no function")?;
        let text = elf.section_by_name(".text").context("there is no .text")?;
        let bytes = text.data_range(symbol.address(), symbol.size())?;
        let bytes = bytes.context("a function is not in .text")?;
        let decoder = Decoder::with_ip(64, bytes, symbol.address(), DecoderOptions::NONE);
        let code = decoder.into_iter().map(|instruction| (instruction.ip(), instruction)).collect();
        Ok(Self { name: symbol.name().unwrap_or_default().to_owned(), code })
    }

    /// Where the branches lead that are taken when the counter is not zero, by the branch.
    fn guards(&self, counter: u64, slots: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
        let (mut known, mut guards) = (BTreeMap::new(), BTreeMap::new());
        for instruction in self.code.values() {
            let loads = instruction.mnemonic() == Mnemonic::Mov
                && instruction.op0_kind() == OpKind::Register
                && instruction.is_ip_rel_memory_operand();
            if loads {
                let from = slots.get(&instruction.ip_rel_memory_address()).copied();
                known.insert(instruction.op0_register(), from.unwrap_or_default());
            }
            if tested(instruction, &known) != Some(counter) {
                continue;
            }
            let Some(branch) = self.code.get(&instruction.next_ip()) else { continue };
            match branch.mnemonic() {
                Mnemonic::Je => guards.insert(branch.ip(), branch.next_ip()),
                Mnemonic::Jne => guards.insert(branch.ip(), branch.near_branch_target()),
                _ => None,
            };
        }
        guards
    }

    /// All that is run when no guard is open.
    fn reachable(&self, guards: &BTreeMap<u64, u64>) -> BTreeSet<u64> {
        let mut waiting: Vec<u64> = self.code.keys().next().copied().into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(at) = waiting.pop() {
            let Some(instruction) = self.code.get(&at).filter(|_| seen.insert(at)) else {
                continue;
            };
            let (next, target) = (instruction.next_ip(), instruction.near_branch_target());
            let ways = match instruction.flow_control() {
                FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Exception => {
                    vec![]
                }
                FlowControl::UnconditionalBranch => vec![target],
                FlowControl::ConditionalBranch => vec![next, target],
                _ => vec![next],
            };
            let open = guards.get(&at);
            waiting.extend(ways.into_iter().filter(|way| Some(way) != open));
        }
        seen
    }
}

/// The address of which an instruction compares two bytes with zero.
fn tested(instruction: &Instruction, known: &BTreeMap<Register, u64>) -> Option<u64> {
    let compares = instruction.mnemonic() == Mnemonic::Cmp
        && instruction.op0_kind() == OpKind::Memory
        && instruction.memory_size().size() == 2
        && instruction.op1_kind() != OpKind::Register
        && instruction.immediate(1) == 0;
    if !compares {
        return None;
    }
    if instruction.is_ip_rel_memory_operand() {
        return Some(instruction.ip_rel_memory_address());
    }
    known.get(&instruction.memory_base()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: u64 = 0x2000;

    /// A function at 0x1000: `cmp word [rip + COUNTER], 0`, then these bytes.
    fn function(rest: &[u8]) -> Function {
        let displacement = (COUNTER - 0x1008) as u32;
        let mut bytes = vec![0x66, 0x83, 0x3d];
        bytes.extend(displacement.to_le_bytes());
        bytes.push(0);
        bytes.extend(rest);
        let decoder = Decoder::with_ip(64, &bytes, 0x1000, DecoderOptions::NONE);
        let code = decoder.into_iter().map(|instruction| (instruction.ip(), instruction)).collect();
        Function { name: "f".into(), code }
    }

    fn fires_unwatched(rest: &[u8], site: u64) -> bool {
        let function = function(rest);
        let guards = function.guards(COUNTER, &BTreeMap::new());
        function.reachable(&guards).contains(&site)
    }

    #[test]
    fn a_site_behind_its_test_is_quiet() {
        // je over the nop; nop; ret.
        assert!(!fires_unwatched(&[0x74, 0x01, 0x90, 0xc3], 0x100a));
        // jne to the nop; ret; nop; ret.
        assert!(!fires_unwatched(&[0x75, 0x01, 0xc3, 0x90, 0xc3], 0x100b));
    }

    #[test]
    fn a_site_that_another_way_leads_to_is_found() {
        // je to the nop: the wrong way round.
        assert!(fires_unwatched(&[0x74, 0x01, 0xc3, 0x90, 0xc3], 0x100b));
        // No branch on the test at all.
        assert!(fires_unwatched(&[0x90, 0xc3], 0x1008));
        // je to a jump back to the nop.
        assert!(fires_unwatched(&[0x74, 0x02, 0x90, 0xc3, 0xeb, 0xfc], 0x100a));
    }
}
