// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What a file must be like for the kernel's loader to take it, and for the kernel to survive that.
//!
//! The loader refuses some of what is wrong, and relocates the rest into something that crashes
//! with the first call; so every rule is checked here, on the very file that is shipped:
//!
//! * [`sections`]: kind of file, sections, dependencies;
//! * [`symbols`]: names that are imported and exported, relocations, probe sites;
//! * [`code`]: instructions that a kernel must not run, memory below the stack pointer, sizes of
//!   frames;
//! * [`stack`]: how much of the stack all frames of a chain of calls take, by [`graph`] and
//!   [`tables`].

mod code;
mod dispatch;
mod graph;
mod sections;
mod stack;
mod symbols;
mod tables;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{SectionTable, SymbolTable};
use stack::Depth;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Header = FileHeader64<LittleEndian>;
const ENDIAN: LittleEndian = LittleEndian;

/// Names that a module may import.
#[derive(Debug, Default)]
pub struct Allowed(BTreeMap<String, String>);

impl Allowed {
    /// Reads lines of a name, a tab and who has it and says so. `#` begins a remark.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pair = |line: &str| {
            let pair = line.split_once('\t').filter(|(_, source)| !source.trim().is_empty());
            let (name, source) = pair.with_context(|| format!("no source in '{line}'"))?;
            Ok((name.to_owned(), source.to_owned()))
        };
        lines.map(pair).collect::<Result<_>>().map(Self)
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path);
        Self::parse(&text.with_context(|| format!("cannot read {}", path.display()))?)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the name is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Every breach of a rule.
    pub problems: Vec<String>,
    /// Modules that are loaded first.
    pub depends: Vec<String>,
    /// Imported names, probes aside.
    pub imports: BTreeSet<String>,
    /// How often each probe is there.
    pub probes: BTreeMap<String, usize>,
    /// Bytes of code, of constants and data, and of zeroed memory.
    pub sizes: [u64; 3],
    /// The largest frames, in bytes.
    pub frames: Vec<(u64, String)>,
    /// Instructions.
    pub instructions: usize,
    /// The longest chains of calls from where the kernel calls, longest first.
    pub depths: Vec<Depth>,
    /// Functions that call themselves, and calls whose targets are not known.
    pub recursive: Vec<String>,
    /// Calls whose targets are not known.
    pub unknown_calls: usize,
}

impl Report {
    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }
}

/// The tables of a module.
struct Module<'a> {
    data: &'a [u8],
    sections: SectionTable<'a, Header>,
    symbols: SymbolTable<'a, Header>,
}

/// Checks the file against all rules. An error means that it is no ELF file at all.
pub fn check(data: &[u8], allowed: &Allowed) -> Result<Report> {
    let mut report = Report::default();
    let header = sections::header(data, &mut report)?;
    let Some(header) = header else { return Ok(report) };
    let table = object::read::elf::FileHeader::sections(header, ENDIAN, data)?;
    let symbols = table.symbols(ENDIAN, data, object::elf::SHT_SYMTAB)?;
    let module = Module { data, sections: table, symbols };
    sections::check(&module, &mut report)?;
    symbols::check(&module, allowed, &mut report)?;
    code::check(&module, &mut report)?;
    stack::check(&module, &mut report)?;
    Ok(report)
}
