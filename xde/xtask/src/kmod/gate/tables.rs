// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Functions of a module by where they are, and what refers to them.
//!
//! A table of methods has, in memory that is never written, what ends a value, its size and its
//! alignment, and then its methods (that is how this compiler lays them out). Tables in memory that
//! may be written are those that the kernel is given.

use super::sections::{is_code, is_loaded, is_writable};
use super::{ENDIAN, Module};
use anyhow::Result;
use object::SymbolIndex;
use object::elf::{R_X86_64_PC32, R_X86_64_PLT32, SHN_UNDEF, SHT_NOBITS, SHT_RELA, STT_FUNC};
use object::read::elf::{Rela, SectionHeader, Sym};
use std::collections::{BTreeMap, BTreeSet};

/// A section, and an offset into it.
pub type Place = (usize, u64);

/// Bytes of an address.
const WORD: u64 = 8;
/// Where the first method stands.
const FIRST_METHOD: u64 = 3 * WORD;
/// Largest size and alignment of a value in memory: what is larger is something else.
const MAX_SIZE: u64 = 1 << 32;
const MAX_ALIGN: u64 = 4096;

/// What a relocation refers to.
#[derive(Debug)]
pub enum Reference {
    /// A place of the module.
    At(Place),
    /// A name of the kernel.
    Import(String),
}

/// A function as the symbol table has it.
#[derive(Debug)]
pub struct Named {
    /// As it stands there.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
}

/// All of that.
#[derive(Debug, Default)]
pub struct Tables {
    /// By where they begin.
    pub functions: BTreeMap<Place, Named>,
    /// By where they are.
    pub references: BTreeMap<Place, Reference>,
    /// Functions in tables of methods, by their place there.
    pub methods: BTreeMap<u64, BTreeSet<Place>>,
    /// Functions in other tables.
    pub entries: BTreeSet<Place>,
}

impl Tables {
    /// Reads symbols and relocations.
    pub fn read(module: &Module<'_>) -> Result<Self> {
        let mut tables = Self::default();
        for symbol in module.symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC) {
            let place = (usize::from(symbol.st_shndx(ENDIAN)), symbol.st_value(ENDIAN));
            let name = symbol.name(ENDIAN, module.symbols.strings()).unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            tables.functions.insert(place, Named { name, size: symbol.st_size(ENDIAN) });
        }
        tables.read_references(module)?;
        for (index, section) in module.sections.enumerate() {
            if is_loaded(section) && !is_code(section) && section.sh_type(ENDIAN) != SHT_NOBITS {
                let bytes = section.data(ENDIAN, module.data)?;
                tables.read_tables(index.0, bytes, is_writable(section));
            }
        }
        Ok(tables)
    }

    fn read_references(&mut self, module: &Module<'_>) -> Result<()> {
        for section in module.sections.iter().filter(|it| it.sh_type(ENDIAN) == SHT_RELA) {
            let of = section.info_link(ENDIAN).0;
            let relocations =
                section.rela(ENDIAN, module.data)?.map(|(relocations, _)| relocations);
            for relocation in relocations.unwrap_or_default() {
                let index = SymbolIndex(relocation.r_sym(ENDIAN, false) as usize);
                let symbol = module.symbols.symbol(index)?;
                let reference = if symbol.st_shndx(ENDIAN) == SHN_UNDEF {
                    let name = symbol.name(ENDIAN, module.symbols.strings()).unwrap_or_default();
                    Reference::Import(String::from_utf8_lossy(name).into_owned())
                } else {
                    // Relative ones are counted from the end of the field, where the instruction
                    // ends, too.
                    let relative = [R_X86_64_PC32, R_X86_64_PLT32];
                    let end =
                        if relative.contains(&relocation.r_type(ENDIAN, false)) { 4 } else { 0 };
                    let addend = relocation.r_addend(ENDIAN) + end;
                    let to = symbol.st_value(ENDIAN).wrapping_add_signed(addend);
                    Reference::At((usize::from(symbol.st_shndx(ENDIAN)), to))
                };
                self.references.insert((of, relocation.r_offset(ENDIAN)), reference);
            }
        }
        Ok(())
    }

    /// The function whose address stands at a place.
    fn function_at(&self, place: Place) -> Option<Place> {
        match self.references.get(&place)? {
            Reference::At(to) if self.functions.contains_key(to) => Some(*to),
            Reference::At(_) | Reference::Import(_) => None,
        }
    }

    /// Whether a size and an alignment stand at a place.
    fn has_layout(&self, (section, at): Place, bytes: &[u8]) -> bool {
        let word = |at: u64| {
            let bytes = bytes.get(at as usize..)?.first_chunk::<8>()?;
            (!self.references.contains_key(&(section, at))).then(|| u64::from_le_bytes(*bytes))
        };
        word(at).is_some_and(|size| size < MAX_SIZE)
            && word(at + WORD).is_some_and(|align| align.is_power_of_two() && align <= MAX_ALIGN)
    }

    fn read_tables(&mut self, section: usize, bytes: &[u8], writable: bool) {
        let range = (section, 0)..(section + 1, 0);
        let places: Vec<Place> = self.references.range(range).map(|(place, _)| *place).collect();
        let mut last: Option<(u64, u64)> = None;
        for place in places {
            let Some(function) = self.function_at(place) else { continue };
            let at = place.1;
            // What takes no room needs no end: a zero there is what a table without one begins with.
            let size = bytes.get(at as usize + 8..).and_then(|rest| rest.first_chunk::<8>());
            let ends_a_value = size.is_some_and(|size| *size != [0; 8])
                && self.has_layout((section, at + WORD), bytes);
            let method = match last {
                _ if writable => None,
                _ if ends_a_value => Some(0),
                Some((before, method)) if before + WORD == at => Some(method + WORD),
                _ if at >= 2 * WORD && self.has_layout((section, at - 2 * WORD), bytes) => {
                    Some(FIRST_METHOD)
                }
                _ => None,
            };
            // What ends a value is no neighbour of the methods.
            last = method.filter(|method| *method != 0).map(|method| (at, method));
            match method {
                Some(method) => self.methods.entry(method).or_default().insert(function),
                None => self.entries.insert(function),
            };
        }
    }
}
