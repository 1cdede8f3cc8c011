// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Relocations: an address is computed, and *added* to what is in place (numbers of one or two bytes
//! are written over it).

use crate::error::Error;
use crate::file::{ENDIAN, Module, Section, has};
use crate::names::{self, Names, PROBE, Value};
use crate::place::{Placed, TRAMPOLINE};
use crate::probes::{self, Site};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use object::LittleEndian;
use object::elf::{
    R_X86_64_8, R_X86_64_16, R_X86_64_32, R_X86_64_32S, R_X86_64_64, R_X86_64_COPY,
    R_X86_64_DTPMOD64, R_X86_64_GLOB_DAT, R_X86_64_GOT32, R_X86_64_GOTOFF64, R_X86_64_GOTPC32,
    R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_JUMP_SLOT, R_X86_64_NONE, R_X86_64_PC8,
    R_X86_64_PC16, R_X86_64_PC32, R_X86_64_PC64, R_X86_64_PLT32, R_X86_64_REX_GOTPCRELX,
    R_X86_64_SIZE32, R_X86_64_SIZE64, R_X86_64_TPOFF32, Rela64, SHF_ALLOC, SHF_EXECINSTR, SHT_RELA,
};
use object::read::elf::{Rela, SectionHeader};

/// A call, and a jump in its place at the end of a function.
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;

/// What the loader does for a kind of relocation.
struct Kind {
    /// Bytes that are written.
    width: usize,
    /// Of the distance, not of the address.
    relative: bool,
    /// Which values the bytes can hold.
    fits: fn(i64) -> bool,
}

impl Kind {
    fn of(kind: u32) -> Result<Self, &'static str> {
        let make = |width, relative, fits| Ok(Self { width, relative, fits });
        match kind {
            R_X86_64_64 => make(8, false, |_| true),
            R_X86_64_PC64 => make(8, true, |_| true),
            R_X86_64_32S => make(4, false, |value| i32::try_from(value).is_ok()),
            // The kernel does not look whether PLT32 and numbers of one or two bytes fit.
            R_X86_64_PC32 | R_X86_64_PLT32 => make(4, true, |value| i32::try_from(value).is_ok()),
            R_X86_64_32 => make(4, false, |value| u32::try_from(value).is_ok()),
            R_X86_64_16 => make(2, false, |value| u16::try_from(value).is_ok()),
            R_X86_64_PC16 => make(2, true, |value| i16::try_from(value).is_ok()),
            R_X86_64_8 => make(1, false, |value| u8::try_from(value).is_ok()),
            R_X86_64_PC8 => make(1, true, |value| i8::try_from(value).is_ok()),
            R_X86_64_GOTPCREL
            | R_X86_64_GOTPCRELX
            | R_X86_64_REX_GOTPCRELX
            | R_X86_64_GOTPC32
            | R_X86_64_GOTOFF64
            | R_X86_64_GLOB_DAT => {
                Err("it wants a table of addresses, and the loader writes the address itself")
            }
            R_X86_64_SIZE32 | R_X86_64_SIZE64 => {
                Err("it wants a size, and the loader writes the address")
            }
            R_X86_64_GOT32 | R_X86_64_COPY | R_X86_64_JUMP_SLOT => {
                Err("it is for programs, and the loader refuses it")
            }
            R_X86_64_DTPMOD64..=R_X86_64_TPOFF32 => Err("it is for memory of a thread"),
            _ => Err("the loader does not know it"),
        }
    }
}

/// Writes all addresses; answers probe sites by address.
pub(crate) fn all(
    module: &Module<'_>,
    placed: &mut Placed,
    names: &Names,
) -> Result<Vec<Site>, Error> {
    let mut work = Work { module, placed, names, trampolines: BTreeMap::new(), sites: Vec::new() };
    for section in module.sections.iter().filter(|it| it.sh_type(ENDIAN) == SHT_RELA) {
        let index = section.info_link(ENDIAN);
        let target = module.sections.section(index)?;
        if !has(target, SHF_ALLOC) {
            continue;
        }
        let relocations = section.rela(ENDIAN, module.data)?.map(|(relocations, _)| relocations);
        for relocation in relocations.unwrap_or_default() {
            work.one(index.0, target, relocation)?;
        }
    }
    let mut sites = work.sites;
    sites.sort_by_key(|site| site.address);
    Ok(sites)
}

struct Work<'a, 'm> {
    module: &'a Module<'m>,
    placed: &'a mut Placed,
    names: &'a Names,
    /// Addresses of trampolines by what they lead to.
    trampolines: BTreeMap<usize, usize>,
    sites: Vec<Site>,
}

/// A relocation, for its messages.
struct Place {
    kind: u32,
    place: String,
    name: String,
}

impl Place {
    fn wrong<T>(&self, what: &'static str) -> Result<T, Error> {
        let Self { kind, place, name } = self;
        Err(Error::Relocation { kind: *kind, place: place.clone(), name: name.clone(), what })
    }
}

impl Work<'_, '_> {
    fn one(
        &mut self,
        section: usize,
        target: &Section,
        relocation: &Rela64<LittleEndian>,
    ) -> Result<(), Error> {
        let kind = relocation.r_type(ENDIAN, false);
        if kind == R_X86_64_NONE {
            return Ok(());
        }
        let offset = relocation.r_offset(ENDIAN) as usize;
        let number = relocation.r_sym(ENDIAN, false) as usize;
        let symbols = self.module.symbols.symbols();
        let no_symbol = Error::File("a relocation is for a symbol that is not there");
        let symbol = symbols.get(number).ok_or(no_symbol)?;
        let place = Place {
            kind,
            place: format!("{}+{offset:#x}", self.module.section_name(target)),
            name: names::shown(self.module, symbol),
        };
        let how = match Kind::of(kind) {
            Ok(how) => how,
            Err(what) => return place.wrong(what),
        };
        let size = target.sh_size(ENDIAN) as usize;
        if offset.checked_add(how.width).is_none_or(|end| end > size) {
            return place.wrong("it is outside of its section");
        }
        let Some(start) = self.placed.address(section) else { return Ok(()) };
        let address = start + offset;
        let addend = relocation.r_addend(ENDIAN);
        // The opcode in front of a call's distance, if it may be one.
        let is_call_like = [R_X86_64_PC32, R_X86_64_PLT32].contains(&kind)
            && addend == -4
            && has(target, SHF_EXECINSTR);
        let Some(bytes) = self.placed.bytes(section, size) else { return Ok(()) };
        let before = offset.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        let opcode = before.filter(|it| is_call_like && [CALL, JUMP].contains(it));
        let value = match self.names.values.get(number).copied() {
            Some(Value::Probe) => {
                let Some(opcode) = opcode else {
                    return place.wrong("a probe is no function: it can only be called");
                };
                let field = bytes.get_mut(offset - 1..offset + 4).unwrap_or_default();
                probes::patch(field, opcode == JUMP);
                self.site(&place.name, address, opcode == JUMP);
                return Ok(());
            }
            Some(Value::Own(value)) => value,
            // Branches that depend on a condition end a function, too, and have another opcode.
            Some(Value::Kernel(value)) if is_call_like && kind == R_X86_64_PLT32 => {
                self.within_reach(address, value)
            }
            Some(Value::Kernel(value)) => match opcode {
                Some(_) => self.within_reach(address, value),
                None => value,
            },
            Some(Value::Nowhere) | None if number == 0 => 0,
            Some(Value::Nowhere) | None => return place.wrong("that is not in memory"),
        };
        let value = (value as i64).wrapping_add(addend);
        let value = if how.relative { value.wrapping_sub(address as i64) } else { value };
        if !(how.fits)(value) {
            return place.wrong("it is too far away");
        }
        let bytes = self.placed.bytes(section, size).unwrap_or_default();
        let field = bytes.get_mut(offset..offset + how.width).unwrap_or_default();
        add(field, value);
        Ok(())
    }

    fn site(&mut self, name: &str, address: usize, is_tail: bool) {
        let functions = &self.names.functions;
        let at = functions.partition_point(|function| function.address <= address);
        let function = at.checked_sub(1).and_then(|at| functions.get(at));
        self.sites.push(Site {
            probe: name.strip_prefix(PROBE).unwrap_or(name).replace("__", "-"),
            function: function.map(|function| function.name.clone()).unwrap_or_default(),
            address,
            is_tail,
        });
    }

    /// Where to call a function of the kernel: itself, or what leads to it if it is too far away.
    fn within_reach(&mut self, from: usize, function: usize) -> usize {
        let distance = (function as i64).wrapping_sub(from as i64);
        if i32::try_from(distance.saturating_sub(4)).is_ok() {
            return function;
        }
        if let Some(known) = self.trampolines.get(&function) {
            return *known;
        }
        let Placed { text, text_used, .. } = &mut *self.placed;
        let address = text.address() + *text_used;
        let room = text.bytes().get_mut(*text_used..).and_then(|it| it.get_mut(..TRAMPOLINE));
        // There is one for each import, so there is room; without it the call does not fit.
        let Some(room) = room else { return function };
        // movabs $function,%r11; jmp *%r11; and a trap, to nobody's use.
        room.fill(0xcc);
        for (to, from) in room.iter_mut().zip([0x49, 0xbb]) {
            *to = from;
        }
        for (to, from) in room.iter_mut().skip(2).zip(function.to_le_bytes()) {
            *to = from;
        }
        for (to, from) in room.iter_mut().skip(10).zip([0x41, 0xff, 0xe3]) {
            *to = from;
        }
        *text_used += TRAMPOLINE;
        self.trampolines.insert(function, address);
        address
    }
}

/// Adds to a number of four or eight bytes in place; a smaller one is written over.
fn add(field: &mut [u8], value: i64) {
    let mut whole = [0; 8];
    if field.len() >= 4 {
        whole.iter_mut().zip(&*field).for_each(|(to, from)| *to = *from);
    }
    let sum = i64::from_le_bytes(whole).wrapping_add(value).to_le_bytes();
    field.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
}
