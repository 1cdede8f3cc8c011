// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Who calls whom, as the code says it.
//!
//! A call names its target by a relocation. A call through a table of methods loads the target from
//! a place of the table: it may reach whatever function any table has at that place. What else is
//! called through a register may be any function whose address is taken.

use super::code::Frame;
use super::tables::{Place, Reference, Tables};
use super::{ENDIAN, Module};
use anyhow::Result;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};
use object::read::elf::SectionHeader;
use std::collections::{BTreeMap, BTreeSet};

/// Registers that a call does not keep.
const SCRATCH: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// Whom an instruction may go to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Target {
    /// A function of the module.
    Function(Place),
    /// A function of the kernel.
    Import(String),
    /// What stands at this place of a table of methods, in bytes.
    Method(u64),
    /// Some function whose address was taken.
    Unknown,
}

/// A call, or a jump in its place after which the caller's frame is gone.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Call {
    /// Whom.
    pub target: Target,
    /// The caller's frame is gone.
    pub tail: bool,
}

/// A function of the module.
#[derive(Debug, Default)]
pub struct Function {
    /// Its name, readable.
    pub name: String,
    /// Bytes of stack that it takes, with the address to return to.
    pub frame: u64,
    /// Whom it calls.
    pub calls: BTreeSet<Call>,
}

/// All functions, and how they can be reached without being named.
#[derive(Debug, Default)]
pub struct Graph {
    /// By where they begin.
    pub functions: BTreeMap<Place, Function>,
    /// Those in tables of methods, by their place there.
    pub methods: BTreeMap<u64, BTreeSet<Place>>,
    /// Those in tables that the kernel is given.
    pub entries: BTreeSet<Place>,
    /// Those whose address is taken by code.
    pub taken: BTreeSet<Place>,
}

impl Graph {
    /// Reads all code.
    pub fn read(module: &Module<'_>) -> Result<Self> {
        let tables = Tables::read(module)?;
        let mut graph = Self::default();
        for (index, section) in module.sections.enumerate() {
            if !super::sections::is_code(section) {
                continue;
            }
            let bytes = section.data(ENDIAN, module.data)?;
            for (place, symbol) in tables.functions.range((index.0, 0)..(index.0 + 1, 0)) {
                let from = place.1 as usize;
                let code = bytes.get(from..from + symbol.size as usize).unwrap_or_default();
                let mut reader = Reader::new(&tables, &mut graph.taken, *place, symbol.size);
                reader.read(code);
                let Reader { frame, calls, .. } = reader;
                let name = format!("{:#}", rustc_demangle::demangle(&symbol.name));
                graph.functions.insert(*place, Function { name, frame: frame.bytes(), calls });
            }
        }
        graph.methods = tables.methods;
        graph.entries = tables.entries;
        Ok(graph)
    }
}

/// Reads one function.
struct Reader<'a> {
    tables: &'a Tables,
    taken: &'a mut BTreeSet<Place>,
    place: Place,
    end: u64,
    frame: Frame,
    calls: BTreeSet<Call>,
    /// What registers and places of the frame were loaded with: a place of some table.
    loaded: BTreeMap<Holder, u64>,
    infos: InstructionInfoFactory,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Holder {
    Register(u32),
    Frame(i64),
}

impl<'a> Reader<'a> {
    fn new(tables: &'a Tables, taken: &'a mut BTreeSet<Place>, place: Place, size: u64) -> Self {
        Self {
            tables,
            taken,
            place,
            end: place.1 + size,
            frame: Frame::default(),
            calls: BTreeSet::new(),
            loaded: BTreeMap::new(),
            infos: InstructionInfoFactory::new(),
        }
    }

    fn read(&mut self, code: &[u8]) {
        let mut decoder = Decoder::with_ip(64, code, self.place.1, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            self.frame.follow(&instruction);
            match self.target(&instruction) {
                Some(call) => {
                    self.calls.insert(call);
                    SCRATCH.iter().for_each(|register| self.forget(*register));
                }
                None => self.note(&instruction),
            }
        }
    }

    /// What the relocation inside of an instruction refers to.
    fn reference(&self, instruction: &Instruction) -> Option<&Reference> {
        let (from, to) = (instruction.ip(), instruction.next_ip());
        let range = (self.place.0, from)..(self.place.0, to);
        self.tables.references.range(range).next().map(|(_, reference)| reference)
    }

    /// The call that an instruction is, if it is one.
    fn target(&self, instruction: &Instruction) -> Option<Call> {
        let tail = match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => false,
            FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch
            | FlowControl::IndirectBranch => true,
            _ => return None,
        };
        let direct = instruction.op0_kind() == OpKind::NearBranch64;
        let target = match self.reference(instruction) {
            Some(Reference::Import(name)) => Some(Target::Import(name.clone())),
            Some(Reference::At(place)) if direct => Some(Target::Function(*place)),
            // A table of addresses inside of the function, or of functions.
            Some(Reference::At(_)) => (!tail).then_some(Target::Unknown),
            None if direct => {
                Some(Target::Function((self.place.0, instruction.near_branch_target())))
            }
            None => self.through(instruction, tail),
        };
        let inside = |place: &Place| (self.place.1..self.end).contains(&place.1);
        let target =
            target.filter(|it| !(tail && matches!(it, Target::Function(it) if inside(it))));
        target.map(|target| Call { target, tail })
    }

    /// The target of a call through memory or a register.
    fn through(&self, instruction: &Instruction, tail: bool) -> Option<Target> {
        let place = match instruction.op0_kind() {
            OpKind::Memory => match frame_place(instruction) {
                Some(place) => self.loaded.get(&place).copied(),
                None => table_place(instruction),
            },
            _ => self.loaded.get(&register(instruction.op0_register())).copied(),
        };
        match place {
            Some(place) => Some(Target::Method(place)),
            // A jump through a register is that of a `match` otherwise.
            None => (!tail).then_some(Target::Unknown),
        }
    }

    /// What an instruction that is no call does to what we know.
    fn note(&mut self, instruction: &Instruction) {
        if let Some(Reference::At(place)) = self.reference(instruction)
            && self.tables.functions.contains_key(place)
        {
            self.taken.insert(*place);
        }
        let is_move = instruction.mnemonic() == iced_x86::Mnemonic::Mov;
        let (to, from) = (instruction.op0_kind(), instruction.op1_kind());
        if is_move && to == OpKind::Memory && from == OpKind::Register {
            let what = self.loaded.get(&register(instruction.op1_register())).copied();
            if let Some(place) = frame_place(instruction) {
                self.set(place, what);
            }
            return;
        }
        let what = match (to, from) {
            _ if !is_move => None,
            (OpKind::Register, OpKind::Register) => {
                self.loaded.get(&register(instruction.op1_register())).copied()
            }
            (OpKind::Register, OpKind::Memory) => match frame_place(instruction) {
                Some(place) => self.loaded.get(&place).copied(),
                None => table_place(instruction),
            },
            _ => None,
        };
        let written: Vec<Register> = self
            .infos
            .info(instruction)
            .used_registers()
            .iter()
            .filter(|used| {
                !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None)
            })
            .map(|used| used.register())
            .collect();
        written.into_iter().for_each(|register| self.forget(register));
        if is_move && to == OpKind::Register {
            self.set(register(instruction.op0_register()), what);
        }
    }

    fn set(&mut self, holder: Holder, what: Option<u64>) {
        match what {
            Some(what) => self.loaded.insert(holder, what),
            None => self.loaded.remove(&holder),
        };
    }

    fn forget(&mut self, which: Register) {
        self.loaded.remove(&register(which));
    }
}

fn register(register: Register) -> Holder {
    Holder::Register(register.full_register() as u32)
}

/// The place of the frame that an instruction reads or writes.
fn frame_place(instruction: &Instruction) -> Option<Holder> {
    let plain =
        instruction.memory_base() == Register::RBP && instruction.memory_index() == Register::None;
    plain.then(|| Holder::Frame(instruction.memory_displacement64().cast_signed()))
}

/// The place of a table that an instruction reads, if it reads from where a register points to.
fn table_place(instruction: &Instruction) -> Option<u64> {
    let base = instruction.memory_base();
    let plain = instruction.memory_index() == Register::None
        && base.is_gpr64()
        && base != Register::RSP
        && base != Register::RBP;
    plain.then(|| instruction.memory_displacement64())
}
