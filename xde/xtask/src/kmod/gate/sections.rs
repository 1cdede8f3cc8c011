// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Rules for the file and its sections.

use super::{ENDIAN, Header, Module, Report};
use anyhow::{Context, Result};
use object::elf::{
    DT_NEEDED, Dyn64, EM_X86_64, ET_REL, GRP_COMDAT, SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR,
    SHF_TLS, SHF_WRITE, SHN_LORESERVE, SHT_DYNAMIC, SHT_FINI_ARRAY, SHT_GROUP, SHT_INIT_ARRAY,
    SHT_NOBITS, SHT_PREINIT_ARRAY, SHT_REL, SHT_STRTAB, SHT_SYMTAB, SHT_SYMTAB_SHNDX,
    SectionHeader64,
};
use object::read::elf::{Dyn, FileHeader, SectionHeader};
use object::{LittleEndian, StringTable};

/// What must be loaded first.
pub const DEPENDS: [&str; 4] = ["drv/dld", "drv/ip", "misc/dls", "misc/mac"];
/// Alignment above which the loader has no room to give.
const PAGE: u64 = 4096;

/// The header, if it is one of a relocatable file for this machine.
pub fn header<'a>(data: &'a [u8], report: &mut Report) -> Result<Option<&'a Header>> {
    let header = Header::parse(data).context("no ELF file")?;
    let is_right = header.is_class_64()
        && header.is_little_endian()
        && header.e_machine(ENDIAN) == EM_X86_64
        && header.e_type(ENDIAN) == ET_REL;
    if !is_right {
        report.problem("not a relocatable 64-bit file for AMD64");
    }
    let count = header.e_shnum.get(ENDIAN);
    if count == 0 || count >= SHN_LORESERVE {
        report.problem("section numbers are extended, which older loaders do not read");
    }
    Ok((report.problems.is_empty()).then_some(header))
}

/// Whether the loader puts it into the kernel.
pub fn is_loaded(section: &SectionHeader64<LittleEndian>) -> bool {
    has(section, SHF_ALLOC)
}

/// Whether it is code.
pub fn is_code(section: &SectionHeader64<LittleEndian>) -> bool {
    has(section, SHF_EXECINSTR)
}

/// Whether it may be written.
pub fn is_writable(section: &SectionHeader64<LittleEndian>) -> bool {
    has(section, SHF_WRITE)
}

fn has(section: &SectionHeader64<LittleEndian>, flag: u32) -> bool {
    section.sh_flags(ENDIAN) & u64::from(flag) != 0
}

pub fn name(module: &Module<'_>, section: &SectionHeader64<LittleEndian>) -> String {
    let name = module.sections.section_name(ENDIAN, section).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// Checks every section.
pub fn check(module: &Module<'_>, report: &mut Report) -> Result<()> {
    let mut counts = [0; 2];
    for section in module.sections.iter() {
        let name = name(module, section);
        match section.sh_type(ENDIAN) {
            SHT_SYMTAB => counts[0] += 1,
            SHT_REL => report.problem(format!("{name} is SHT_REL, with which no module loads")),
            SHT_SYMTAB_SHNDX => report.problem("SHT_SYMTAB_SHNDX, which older loaders do not read"),
            SHT_INIT_ARRAY | SHT_FINI_ARRAY | SHT_PREINIT_ARRAY => {
                report.problem(format!("{name} has constructors, which are never run"));
            }
            SHT_GROUP => check_group(module, section, &name, report)?,
            SHT_DYNAMIC => {
                counts[1] += 1;
                check_depends(module, section, report)?;
            }
            _ => {}
        }
        if name.starts_with(".ctors") || name.starts_with(".dtors") {
            report.problem(format!("{name} has constructors, which are never run"));
        }
        if is_loaded(section) {
            check_loaded(section, &name, report);
        }
    }
    if counts[0] != 1 {
        report.problem(format!("{} symbol tables, not one", counts[0]));
    }
    if counts[1] != 1 {
        report.problem(format!("{} lists of dependencies, not one", counts[1]));
    }
    Ok(())
}

fn check_loaded(section: &SectionHeader64<LittleEndian>, name: &str, report: &mut Report) {
    if section.sh_addr(ENDIAN) != 0 {
        report.problem(format!("{name} has an address"));
    }
    for (flag, what) in [(SHF_TLS, "is for each thread"), (SHF_COMPRESSED, "is compressed")] {
        if has(section, flag) {
            report.problem(format!("{name} {what}, which no loader of modules knows"));
        }
    }
    if has(section, SHF_WRITE) && has(section, SHF_EXECINSTR) {
        report.problem(format!("{name} can be written and executed"));
    }
    if section.sh_addralign(ENDIAN) > PAGE {
        report.problem(format!("{name} is aligned to more than a page"));
    }
    let kind = match () {
        () if section.sh_type(ENDIAN) == SHT_NOBITS => 2,
        () if has(section, SHF_EXECINSTR) => 0,
        () => 1,
    };
    report.sizes[kind] += section.sh_size(ENDIAN);
}

fn check_group(
    module: &Module<'_>,
    section: &SectionHeader64<LittleEndian>,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    if section.group(ENDIAN, module.data)?.is_some_and(|(flags, _)| flags & GRP_COMDAT != 0) {
        report.problem(format!("{name} is a group of which one is to be kept: it was not linked"));
    }
    Ok(())
}

fn check_depends(
    module: &Module<'_>,
    section: &SectionHeader64<LittleEndian>,
    report: &mut Report,
) -> Result<()> {
    let link = object::SectionIndex(section.sh_link(ENDIAN) as usize);
    let strings = module.sections.section(link)?;
    if strings.sh_type(ENDIAN) != SHT_STRTAB {
        report.problem("the list of dependencies has no names");
        return Ok(());
    }
    let (start, size) = strings.file_range(ENDIAN).unwrap_or_default();
    let strings = StringTable::new(module.data, start, start + size);
    let entries: &[Dyn64<LittleEndian>] = section.data_as_array(ENDIAN, module.data)?;
    for entry in entries.iter().filter(|entry| entry.tag32(ENDIAN) == Some(DT_NEEDED)) {
        let name = entry.string(ENDIAN, strings).ok().map(String::from_utf8_lossy);
        match name {
            Some(name) => report.depends.push(name.into_owned()),
            None => report.problem("a dependency has no name"),
        }
    }
    if report.depends != DEPENDS {
        report.problem(format!("depends on {:?}, not on {DEPENDS:?}", report.depends));
    }
    Ok(())
}
