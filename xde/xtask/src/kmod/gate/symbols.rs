// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Rules for names, relocations and probe sites.

use super::sections::{is_loaded, name as section_name};
use super::{Allowed, ENDIAN, Module, Report};
use anyhow::Result;
use object::elf::{
    R_X86_64_32S, R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32, Rela64, SHF_EXECINSTR, SHN_COMMON,
    SHN_UNDEF, SHN_XINDEX, SHT_NOBITS, SHT_RELA, STB_LOCAL, STT_TLS, SectionHeader64, Sym64,
};
use object::read::elf::{Rela, SectionHeader, Sym};
use object::{LittleEndian, SymbolIndex};
use std::collections::BTreeSet;

/// What the kernel looks for in a module.
const EXPORTS: [&str; 3] = ["_fini", "_info", "_init"];
/// How names of probes begin.
const PROBE: &str = "__dtrace_probe_";
/// Longest name of a probe with its closing NUL.
const PROBE_NAME: usize = 64;
/// What the loader computes rightly. It takes others, too, and writes something else than they
/// mean.
const RELOCATIONS: [u32; 4] = [R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32, R_X86_64_32S];
/// A call, and a jump in its place at the end of a function.
const CALLS: [u8; 2] = [0xe8, 0xe9];

fn name(module: &Module<'_>, symbol: &Sym64<LittleEndian>) -> String {
    let name = symbol.name(ENDIAN, module.symbols.strings()).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Checks every symbol and every relocation.
pub fn check(module: &Module<'_>, allowed: &Allowed, report: &mut Report) -> Result<()> {
    let mut probes = BTreeSet::new();
    let mut exports = Vec::new();
    for symbol in module.symbols.iter().skip(1) {
        let name = name(module, symbol);
        let section = symbol.st_shndx(ENDIAN);
        if symbol.st_type() == STT_TLS {
            report.problem(format!("{name} is for each thread"));
        }
        match section {
            SHN_XINDEX => report.problem(format!("{name} has an extended section number")),
            SHN_COMMON => report.problem(format!("{name} has no place yet")),
            SHN_UNDEF if symbol.st_bind() == STB_LOCAL && !name.is_empty() => {
                report.problem(format!("{name} is nobody's"));
            }
            SHN_UNDEF if name.starts_with(PROBE) => {
                if name.len() - PROBE.len() >= PROBE_NAME {
                    report.problem(format!("the name of probe {name} is too long"));
                }
                probes.insert(name);
            }
            SHN_UNDEF if !name.is_empty() => {
                if !allowed.has(&name) {
                    report.problem(format!("imports {name}, which is not on the list"));
                }
                report.imports.insert(name);
            }
            _ if symbol.st_bind() != STB_LOCAL && !name.is_empty() => exports.push(name),
            _ => {}
        }
    }
    exports.sort();
    if exports != EXPORTS {
        report.problem(format!("exports {exports:?}, not {EXPORTS:?}"));
    }
    for section in module.sections.iter().filter(|it| it.sh_type(ENDIAN) == SHT_RELA) {
        check_relocations(module, section, report)?;
    }
    for probe in probes.iter().filter(|probe| !report.probes.contains_key(*probe)) {
        report.problems.push(format!("probe {probe} is nowhere called"));
    }
    Ok(())
}

/// Section of a relocation's place.
struct Target<'a> {
    name: String,
    /// `None` for zeroed memory.
    bytes: Option<&'a [u8]>,
    is_code: bool,
}

fn check_relocations(
    module: &Module<'_>,
    section: &SectionHeader64<LittleEndian>,
    report: &mut Report,
) -> Result<()> {
    let header = module.sections.section(section.info_link(ENDIAN))?;
    if section.link(ENDIAN) != module.symbols.section() {
        report.problem(format!("{} has another symbol table", section_name(module, section)));
        return Ok(());
    }
    if !is_loaded(header) {
        return Ok(());
    }
    let bytes = match header.sh_type(ENDIAN) {
        SHT_NOBITS => None,
        _ => Some(header.data(ENDIAN, module.data)?),
    };
    let is_code = header.sh_flags(ENDIAN) & u64::from(SHF_EXECINSTR) != 0;
    let target = Target { name: section_name(module, header), bytes, is_code };
    let relocations = section.rela(ENDIAN, module.data)?.map(|(relocations, _)| relocations);
    for relocation in relocations.unwrap_or_default() {
        check_relocation(module, &target, relocation, report)?;
    }
    Ok(())
}

fn check_relocation(
    module: &Module<'_>,
    target: &Target<'_>,
    relocation: &Rela64<LittleEndian>,
    report: &mut Report,
) -> Result<()> {
    let (kind, at) = (relocation.r_type(ENDIAN, false), relocation.r_offset(ENDIAN));
    let index = SymbolIndex(relocation.r_sym(ENDIAN, false) as usize);
    let symbol = module.symbols.symbol(index)?;
    let (name, place) = (name(module, symbol), format!("{}+{at:#x}", target.name));
    if !RELOCATIONS.contains(&kind) {
        report.problem(format!("relocation of kind {kind} at {place}, to {name}"));
        return Ok(());
    }
    let width = if kind == R_X86_64_64 { 8 } else { 4 };
    let at = at as usize;
    let old = target.bytes.and_then(|bytes| bytes.get(at..at + width));
    if old.is_some_and(|old| old.iter().any(|byte| *byte != 0)) {
        report.problem(format!("{place} is not zero before it is relocated"));
    }
    if symbol.st_shndx(ENDIAN) == SHN_UNDEF && name.starts_with(PROBE) {
        let opcode = at.checked_sub(1).and_then(|before| target.bytes?.get(before));
        // What comes before tells a conditional jump from a call.
        let wide = at.checked_sub(2).and_then(|before| target.bytes?.get(before));
        let is_call = [R_X86_64_PC32, R_X86_64_PLT32].contains(&kind)
            && relocation.r_addend(ENDIAN) == -4
            && target.is_code
            && opcode.is_some_and(|opcode| CALLS.contains(opcode));
        if is_call {
            *report.probes.entry(name).or_default() += 1;
        } else {
            report.problem(format!("{place} refers to {name} by {wide:x?} {opcode:x?}: no call"));
        }
    }
    Ok(())
}
