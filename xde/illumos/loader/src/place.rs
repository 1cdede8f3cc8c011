// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Memory: sections that cannot be written go to one part, the others to another, each in the order of
//! the file and aligned as it wants.

use crate::error::Error;
use crate::file::{ENDIAN, Module, Section, has};
use alloc::vec;
use alloc::vec::Vec;
use core::ptr::NonNull;
use object::elf::{SHF_WRITE, SHT_NOBITS};
use object::read::elf::SectionHeader;

/// Bytes for one trampoline.
pub(crate) const TRAMPOLINE: usize = 16;

/// Memory that is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// For code and constants: read and executed. Trampolines are at its end.
    pub text: Part,
    /// For what the module writes.
    pub data: Part,
}

/// Memory of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Part {
    /// Bytes; may be 0.
    pub size: usize,
    /// Alignment of the first, in bytes.
    pub align: usize,
}

/// Memory that a caller gives, and the address at which the module will find it.
#[derive(Debug)]
pub struct Region {
    memory: NonNull<u8>,
    len: usize,
    address: usize,
}

// SAFETY: the memory is the region's alone, see `Region::new`.
unsafe impl Send for Region {}
// SAFETY: it is written by `&mut self`, or by single bytes as atomics.
unsafe impl Sync for Region {}

impl Region {
    /// `len` bytes at `memory`, which are at `address` when the module runs: the same, unless the
    /// memory is mapped twice.
    ///
    /// # Safety
    ///
    /// The bytes can be written for as long as the region, or the module that is loaded into it, is
    /// used; and nobody else has a reference to them but the module.
    pub const unsafe fn new(memory: NonNull<u8>, len: usize, address: usize) -> Self {
        Self { memory, len, address }
    }

    /// Where the module finds it.
    pub const fn address(&self) -> usize {
        self.address
    }

    /// Bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it, until the module runs.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: so many bytes that can be written and are nobody else's (see `new`); the module
        // does not run while it is being loaded.
        unsafe { core::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }

    /// Where a byte can be written that the module finds at `address`.
    pub(crate) fn byte(&self, address: usize) -> Option<NonNull<u8>> {
        let offset = address.checked_sub(self.address).filter(|offset| *offset < self.len)?;
        // SAFETY: inside of the region.
        Some(unsafe { self.memory.add(offset) })
    }

    fn fits(&self, part: Part) -> bool {
        self.len >= part.size && self.address.is_multiple_of(part.align)
    }
}

/// Where a section lies: in which of the two parts, and at which offset of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub writable: bool,
    pub offset: usize,
}

/// Lays the sections out; answers places by section number, and the sizes without trampolines.
pub(crate) fn lay_out(module: &Module<'_>) -> (Vec<Option<Place>>, Room) {
    let nothing = Part { size: 0, align: 1 };
    let mut room = Room { text: nothing, data: nothing };
    let mut places = vec![None; module.sections.len()];
    for (index, section) in module.loaded_sections() {
        let writable = has(section, SHF_WRITE);
        let part = if writable { &mut room.data } else { &mut room.text };
        let align = (section.sh_addralign(ENDIAN) as usize).max(1);
        let offset = part.size.next_multiple_of(align);
        part.size = offset.saturating_add(section.sh_size(ENDIAN) as usize);
        part.align = part.align.max(align);
        if let Some(place) = places.get_mut(index.0) {
            *place = Some(Place { writable, offset });
        }
    }
    (places, room)
}

/// How much memory the module takes, with a trampoline for each import.
pub(crate) fn room(module: &Module<'_>) -> Room {
    let mut room = lay_out(module).1;
    room.text.size = room.text.size.next_multiple_of(TRAMPOLINE);
    room.text.size += module.imports().count() * TRAMPOLINE;
    room.text.align = room.text.align.max(TRAMPOLINE);
    room
}

/// Both parts, and where in them sections are.
pub(crate) struct Placed {
    pub text: Region,
    pub data: Region,
    places: Vec<Option<Place>>,
    /// Bytes of text, trampolines included so far.
    pub text_used: usize,
}

impl Placed {
    /// Puts all sections into memory.
    pub fn new(module: &Module<'_>, text: Region, data: Region) -> Result<Self, Error> {
        let (places, inner) = lay_out(module);
        let room = room(module);
        if !text.fits(room.text) {
            return Err(Error::Memory("text"));
        }
        if !data.fits(room.data) {
            return Err(Error::Memory("data"));
        }
        let text_used = inner.text.size.next_multiple_of(TRAMPOLINE);
        let mut placed = Self { text, data, places, text_used };
        for (index, section) in module.loaded_sections() {
            let size = section.sh_size(ENDIAN) as usize;
            let to = placed.bytes(index.0, size).ok_or(Error::Memory("a section"))?;
            if section.sh_type(ENDIAN) == SHT_NOBITS {
                to.fill(0);
            } else {
                to.copy_from_slice(contents(module, section, size)?);
            }
        }
        Ok(placed)
    }

    /// Where the module finds a section; `None` if it is not loaded.
    pub fn address(&self, section: usize) -> Option<usize> {
        let place = (*self.places.get(section)?)?;
        let region = if place.writable { &self.data } else { &self.text };
        Some(region.address() + place.offset)
    }

    /// The first `size` bytes of a section.
    pub fn bytes(&mut self, section: usize, size: usize) -> Option<&mut [u8]> {
        let place = (*self.places.get(section)?)?;
        let region = if place.writable { &mut self.data } else { &mut self.text };
        region.bytes().get_mut(place.offset..)?.get_mut(..size)
    }
}

fn contents<'a>(module: &Module<'a>, section: &Section, size: usize) -> Result<&'a [u8], Error> {
    let bytes = section.data(ENDIAN, module.data)?;
    bytes.get(..size).ok_or(Error::File("a section is shorter than it says"))
}
