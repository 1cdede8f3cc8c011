// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Rules for instructions.

use super::{ENDIAN, Module, Report};
use anyhow::Result;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::SectionIndex;
use object::elf::{SHF_EXECINSTR, STT_FUNC};
use object::read::elf::{SectionHeader, Sym};
use std::collections::BTreeMap;

/// Largest frame. A kernel's stack has five such pages, and interrupts use it, too.
const MAX_FRAME: u64 = 4096;
/// Bytes of an address.
const WORD: u64 = 8;
/// Breaches of one kind that are told.
const TOLD: usize = 5;

/// What is known of the stack of a function so far.
#[derive(Debug, Default)]
pub struct Frame {
    /// Bytes below the place that `rbp` has.
    allocated: u64,
    has_pointer: bool,
    /// The stack pointer was set to something that is not known.
    unknown: bool,
    largest: u64,
}

impl Frame {
    /// Bytes of stack, with the address to return to and the caller's `rbp`.
    pub const fn bytes(&self) -> u64 {
        self.largest + if self.has_pointer { 2 * WORD } else { WORD }
    }

    /// What the instruction does to the stack.
    pub fn follow(&mut self, instruction: &Instruction) {
        let first = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Mov
                if first == Register::RBP && instruction.op1_register() == Register::RSP =>
            {
                (self.has_pointer, self.allocated) = (true, 0);
            }
            Mnemonic::Push if self.has_pointer => self.allocated += WORD,
            Mnemonic::Sub if first == Register::RSP && is_immediate(instruction) => {
                self.allocated += instruction.immediate(1);
            }
            Mnemonic::And | Mnemonic::Sub | Mnemonic::Lea | Mnemonic::Mov
                if first == Register::RSP && instruction.op0_kind() == OpKind::Register =>
            {
                self.unknown = true;
            }
            _ => return,
        }
        self.largest = self.largest.max(self.allocated);
    }
}

/// Functions of a section by address.
fn functions(module: &Module<'_>, section: SectionIndex) -> BTreeMap<u64, String> {
    let symbols = module.symbols.iter().filter(|symbol| {
        symbol.st_type() == STT_FUNC && usize::from(symbol.st_shndx(ENDIAN)) == section.0
    });
    let named = symbols.map(|symbol| {
        let name = symbol.name(ENDIAN, module.symbols.strings()).unwrap_or_default();
        (symbol.st_value(ENDIAN), String::from_utf8_lossy(name).into_owned())
    });
    named.collect()
}

/// Checks every instruction.
pub fn check(module: &Module<'_>, report: &mut Report) -> Result<()> {
    let mut breaches: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (index, section) in module.sections.enumerate() {
        if section.sh_flags(ENDIAN) & u64::from(SHF_EXECINSTR) == 0 {
            continue;
        }
        let bytes = section.data(ENDIAN, module.data)?;
        let functions = functions(module, index);
        let mut starts = functions.iter().peekable();
        let (mut name, mut frame) = ("", Frame::default());
        let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            while let Some((_, next)) = starts.next_if(|(at, _)| **at <= instruction.ip()) {
                note(report, name, &frame);
                (name, frame) = (next, Frame::default());
            }
            report.instructions += 1;
            if let Some(what) = breach(&instruction, &mut frame) {
                let place = format!("{name}: {:?} at {:#x}", instruction.code(), instruction.ip());
                breaches.entry(what).or_default().push(place);
            }
        }
        note(report, name, &frame);
    }
    for (what, places) in breaches {
        let more = places.len().saturating_sub(TOLD);
        let told = places.iter().take(TOLD);
        report.problems.extend(told.map(|place| format!("{what} in {place}")));
        if more > 0 {
            report.problem(format!("{what} in {more} more places"));
        }
    }
    report.frames.sort_by(|a, b| b.cmp(a));
    report.frames.truncate(TOLD);
    if let Some((size, name)) = report.frames.first().filter(|(size, _)| *size > MAX_FRAME) {
        let what = format!("the frame of {name} has {size} bytes, more than {MAX_FRAME}");
        report.problem(what);
    }
    Ok(())
}

fn note(report: &mut Report, name: &str, frame: &Frame) {
    if frame.largest > 0 {
        report.frames.push((frame.largest, name.to_owned()));
    }
}

/// What is wrong with an instruction, if anything is.
fn breach(instruction: &Instruction, frame: &mut Frame) -> Option<&'static str> {
    if instruction.code() == Code::INVALID {
        return Some("no instruction");
    }
    if uses_vectors(instruction) {
        return Some("floating point or vector registers");
    }
    if instruction.memory_segment() == Register::FS && has_memory(instruction) {
        return Some("memory of a thread");
    }
    if is_privileged(instruction) {
        return Some("a privileged instruction");
    }
    frame.follow(instruction);
    below_stack(instruction, frame).then_some("memory below the stack pointer")
}

fn uses_vectors(instruction: &Instruction) -> bool {
    use iced_x86::CpuidFeature as F;
    let is_vector = |register: Register| {
        register.is_vector_register() || register.is_mm() || register.is_st() || register.is_k()
    };
    let by_register = (0..instruction.op_count())
        .filter(|op| instruction.op_kind(*op) == OpKind::Register)
        .any(|op| is_vector(instruction.op_register(op)));
    let features = instruction.cpuid_features();
    by_register
        || features.iter().any(|it| {
            matches!(
                it,
                F::FPU | F::FPU287 | F::FPU387 | F::MMX | F::FXSR | F::XSAVE | F::SSE | F::SSE2
            )
        })
}

fn has_memory(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory)
}

fn is_privileged(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let known = [
        M::Cli,
        M::Sti,
        M::Hlt,
        M::In,
        M::Out,
        M::Syscall,
        M::Sysret,
        M::Swapgs,
        M::Wrmsr,
        M::Rdmsr,
        M::Invlpg,
        M::Lgdt,
        M::Lidt,
        M::Iret,
        M::Iretd,
        M::Iretq,
        M::Int3,
        M::Vmcall,
    ];
    known.contains(&instruction.mnemonic())
}

fn is_immediate(instruction: &Instruction) -> bool {
    matches!(
        instruction.op1_kind(),
        OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate8 | OpKind::Immediate32
    )
}

/// An interrupt may write what is there at any time.
fn below_stack(instruction: &Instruction, frame: &Frame) -> bool {
    if !has_memory(instruction) || instruction.mnemonic() == Mnemonic::Lea {
        return false;
    }
    let below = (instruction.memory_displacement64() as i64).wrapping_neg();
    match instruction.memory_base() {
        Register::RSP => below > 0 && instruction.memory_index() == Register::None,
        Register::RBP => {
            let known = frame.has_pointer && !frame.unknown;
            known
                && below > 0
                && below.cast_unsigned() > frame.allocated
                && instruction.memory_index() == Register::None
        }
        _ => false,
    }
}
