// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Names: what the module takes from the kernel, and where what it has itself lies.

use crate::error::Error;
use crate::file::{ENDIAN, Module, text};
use crate::place::Placed;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use object::LittleEndian;
use object::elf::{
    SHN_ABS, SHN_COMMON, SHN_LORESERVE, SHN_UNDEF, STB_LOCAL, STT_FUNC, STT_SECTION, STT_TLS, Sym64,
};
use object::read::elf::Sym;

/// How names of probes begin. The kernel has no function of such a name.
pub(crate) const PROBE: &str = "__dtrace_probe_";

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// Something of the module's, or a number.
    Own(usize),
    /// Something of the kernel's.
    Kernel(usize),
    /// A probe.
    Probe,
    /// Something that is not in memory.
    Nowhere,
}

/// A function, for those who look at addresses.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub address: usize,
    pub name: String,
}

/// Values by symbol number, functions by address, and entry points.
pub(crate) struct Names {
    pub values: Vec<Value>,
    pub functions: Vec<Function>,
    pub entries: [usize; 3],
}

/// What the kernel looks for in a module.
const ENTRIES: [&str; 3] = ["_init", "_info", "_fini"];

/// A symbol's name, for messages and comparisons.
pub(crate) fn name<'a>(module: &Module<'a>, symbol: &Sym64<LittleEndian>) -> &'a [u8] {
    symbol.name(ENDIAN, module.symbols.strings()).unwrap_or_default()
}

fn is_import(symbol: &Sym64<LittleEndian>) -> bool {
    symbol.st_shndx(ENDIAN) == SHN_UNDEF && symbol.st_bind() != STB_LOCAL
}

/// Names that the kernel must have.
pub(crate) fn imports<'a>(module: &Module<'a>) -> impl Iterator<Item = &'a str> {
    let undefined = module.symbols.iter().filter(|symbol| is_import(symbol));
    let named = undefined.map(|symbol| str::from_utf8(name(module, symbol)).unwrap_or_default());
    named.filter(|name| !name.is_empty() && !name.starts_with(PROBE))
}

/// Finds all of them. Everything that is undefined must be found, whether something refers to it or
/// not, and nothing may be there twice.
pub(crate) fn find(
    module: &Module<'_>,
    placed: &Placed,
    resolve: &dyn Fn(&str) -> Option<usize>,
) -> Result<Names, Error> {
    let mut names = Names { values: Vec::new(), functions: Vec::new(), entries: [0; 3] };
    let mut missing = Vec::new();
    for symbol in module.symbols.iter() {
        let name = text(name(module, symbol));
        let wrong = |what| Err(Error::Symbol { name: name.clone(), what });
        let section = symbol.st_shndx(ENDIAN);
        let value = symbol.st_value(ENDIAN) as usize;
        let is_local = symbol.st_bind() == STB_LOCAL;
        let found = match section {
            _ if symbol.st_type() == STT_TLS => return wrong("it is for each thread"),
            SHN_UNDEF if name.is_empty() => Value::Nowhere,
            SHN_UNDEF if is_local => return wrong("it is nobody's"),
            SHN_UNDEF if name.starts_with(PROBE) => Value::Probe,
            SHN_UNDEF => resolve(&name).map_or_else(
                || {
                    missing.push(name.clone());
                    Value::Nowhere
                },
                Value::Kernel,
            ),
            SHN_ABS => Value::Own(value),
            SHN_COMMON => return wrong("it has no place yet"),
            SHN_LORESERVE.. => return wrong("its section number is extended"),
            _ => match placed.address(section.into()) {
                Some(start) => Value::Own(start.wrapping_add(value)),
                None => Value::Nowhere,
            },
        };
        if let (Value::Own(address), false) = (found, is_local) {
            if resolve(&name).is_some() && !ENTRIES.contains(&name.as_str()) {
                return wrong("the kernel has it, too: it is multiply defined");
            }
            let entry = ENTRIES.iter().position(|entry| *entry == name);
            if let Some(entry) = entry.and_then(|entry| names.entries.get_mut(entry)) {
                *entry = address;
            }
        }
        if let (Value::Own(address), STT_FUNC) = (found, symbol.st_type()) {
            names.functions.push(Function { address, name });
        }
        names.values.push(found);
    }
    if !missing.is_empty() {
        return Err(Error::Unresolved(missing));
    }
    let absent = ENTRIES.iter().zip(names.entries).find(|(_, address)| *address == 0);
    if let Some((name, _)) = absent {
        return Err(Error::Symbol { name: (*name).to_owned(), what: "an entry point is missing" });
    }
    names.functions.sort_by_key(|function| function.address);
    Ok(names)
}

/// A name for messages: of a symbol, or of the section that a symbol without a name is for.
pub(crate) fn shown(module: &Module<'_>, symbol: &Sym64<LittleEndian>) -> String {
    if symbol.st_type() == STT_SECTION {
        let index = object::SectionIndex(symbol.st_shndx(ENDIAN).into());
        let section = module.sections.section(index);
        return section.map(|section| module.section_name(section)).unwrap_or_default();
    }
    text(name(module, symbol))
}
