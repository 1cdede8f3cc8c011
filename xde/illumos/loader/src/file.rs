// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The file: its kind, its sections and its dependencies.

use crate::error::Error;
use crate::names;
use crate::place::{self, Room};
use alloc::string::String;
use alloc::vec::Vec;
use object::elf::{
    DT_NEEDED, Dyn64, EM_X86_64, ET_REL, FileHeader64, SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR,
    SHF_TLS, SHF_WRITE, SHN_LORESERVE, SHT_DYNAMIC, SHT_FINI_ARRAY, SHT_INIT_ARRAY,
    SHT_PREINIT_ARRAY, SHT_REL, SHT_RELA, SHT_STRTAB, SHT_SYMTAB, SHT_SYMTAB_SHNDX,
    SectionHeader64,
};
use object::read::elf::{Dyn, FileHeader, SectionHeader, SectionTable, SymbolTable};
use object::{LittleEndian, SectionIndex, StringTable};

/// A file's header.
pub(crate) type Header = FileHeader64<LittleEndian>;
/// A section's header.
pub(crate) type Section = SectionHeader64<LittleEndian>;
/// The only byte order there is.
pub(crate) const ENDIAN: LittleEndian = LittleEndian;
/// Alignment above which the kernel has no room to give.
const PAGE: u64 = 4096;

/// A file that may be loaded.
pub struct Module<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) sections: SectionTable<'a, Header>,
    pub(crate) symbols: SymbolTable<'a, Header>,
    depends: Vec<&'a str>,
}

impl<'a> Module<'a> {
    /// Reads a file and holds it to the rules for files and sections.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let header = header(data)?;
        let sections = header.sections(ENDIAN, data)?;
        let tables = sections.iter().filter(|it| it.sh_type(ENDIAN) == SHT_SYMTAB).count();
        if tables != 1 {
            return Err(Error::File("it has not one table of symbols"));
        }
        let symbols = sections.symbols(ENDIAN, data, SHT_SYMTAB)?;
        let mut module = Self { data, sections, symbols, depends: Vec::new() };
        for section in module.sections.iter() {
            module.check(section)?;
        }
        module.depends = module.dependencies()?;
        Ok(module)
    }

    /// Modules that the kernel loads first, such as `drv/ip`.
    pub fn depends(&self) -> &[&'a str] {
        &self.depends
    }

    /// Names that the kernel must have; probes are none of them.
    pub fn imports(&self) -> impl Iterator<Item = &'a str> {
        names::imports(self)
    }

    /// How much memory it takes.
    pub fn room(&self) -> Room {
        place::room(self)
    }

    /// All sections that are put into memory, in the order of the file.
    pub(crate) fn loaded_sections(&self) -> impl Iterator<Item = (SectionIndex, &'a Section)> {
        self.sections.enumerate().filter(|(_, section)| has(section, SHF_ALLOC))
    }

    /// A section's name, for messages.
    pub(crate) fn section_name(&self, section: &Section) -> String {
        let name = self.sections.section_name(ENDIAN, section).unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    fn check(&self, section: &Section) -> Result<(), Error> {
        let wrong = |what| Err(Error::Section { name: self.section_name(section), what });
        let kind = section.sh_type(ENDIAN);
        match kind {
            SHT_REL => return wrong("addends lie in place, which the loader refuses"),
            SHT_SYMTAB_SHNDX => return wrong("section numbers are extended"),
            SHT_RELA if section.link(ENDIAN) != self.symbols.section() => {
                return wrong("it belongs to another table of symbols");
            }
            _ => {}
        }
        if !has(section, SHF_ALLOC) {
            return Ok(());
        }
        let alignment = section.sh_addralign(ENDIAN);
        let never_run = [SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY].contains(&kind);
        match () {
            () if never_run => wrong("constructors, which nobody runs"),
            () if section.sh_addr(ENDIAN) != 0 => wrong("it has an address"),
            () if has(section, SHF_TLS) => wrong("it is for each thread"),
            () if has(section, SHF_COMPRESSED) => wrong("it is compressed"),
            () if has(section, SHF_WRITE) && has(section, SHF_EXECINSTR) => {
                wrong("it can be written and executed")
            }
            () if alignment > PAGE || !alignment.max(1).is_power_of_two() => {
                wrong("its alignment is no part of a page")
            }
            () => Ok(()),
        }
    }

    /// Names in the one section of dependencies, if there is one.
    fn dependencies(&self) -> Result<Vec<&'a str>, Error> {
        let mut found = self.sections.iter().filter(|it| it.sh_type(ENDIAN) == SHT_DYNAMIC);
        let Some(section) = found.next() else { return Ok(Vec::new()) };
        let wrong = |what| Error::Section { name: self.section_name(section), what };
        if found.next().is_some() {
            return Err(wrong("there are two lists of dependencies"));
        }
        let strings = self.sections.section(SectionIndex(section.sh_link(ENDIAN) as usize))?;
        if strings.sh_type(ENDIAN) != SHT_STRTAB {
            return Err(wrong("the list of dependencies has no names"));
        }
        let (start, size) = strings.file_range(ENDIAN).unwrap_or_default();
        let strings = StringTable::new(self.data, start, start.saturating_add(size));
        let entries: &[Dyn64<LittleEndian>] = section.data_as_array(ENDIAN, self.data)?;
        let needed = entries.iter().filter(|entry| entry.tag32(ENDIAN) == Some(DT_NEEDED));
        needed
            .map(|entry| {
                let name = entry.string(ENDIAN, strings).ok();
                let name = name.and_then(|name| str::from_utf8(name).ok());
                name.ok_or_else(|| wrong("a dependency has no name"))
            })
            .collect()
    }
}

fn header(data: &[u8]) -> Result<&Header, Error> {
    let header = Header::parse(data).map_err(|_| Error::File("it is no ELF file of 64 bits"))?;
    if !header.is_little_endian() {
        return Err(Error::File("its numbers begin with the highest bits"));
    }
    if header.e_machine(ENDIAN) != EM_X86_64 {
        return Err(Error::File("it is for another machine"));
    }
    if header.e_type(ENDIAN) != ET_REL {
        return Err(Error::File("it is not relocatable"));
    }
    if !(1..SHN_LORESERVE).contains(&header.e_shnum.get(ENDIAN)) {
        return Err(Error::File("section numbers are extended"));
    }
    Ok(header)
}

/// Whether a section has a flag.
pub(crate) fn has(section: &Section, flag: u32) -> bool {
    section.sh_flags(ENDIAN) & u64::from(flag) != 0
}

/// A name, for messages.
pub(crate) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

impl core::fmt::Debug for Module<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Module")
            .field("depends", &self.depends)
            .field("room", &self.room())
            .finish()
    }
}
