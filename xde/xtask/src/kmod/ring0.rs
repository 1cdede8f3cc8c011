// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The module in ring 0: a small kernel that does nothing but run it, in an emulated machine.
//!
//! That the machine finds what it should find is shown by small modules that are wrong: each must
//! end it with the right word.

use super::build::{cargo_with_sources, finish, sources};
use crate::lab::machine::Emulator;
use crate::lab::report::CannotRun;
use crate::setup;
use crate::shell::{Cmd, Output};
use crate::workspace::{root, target_dir};
use anyhow::{Context, Result, ensure};
use oxide_vpc_api::request::COMMANDS;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TARGET: &str = "x86_64-unknown-none";
/// Addresses as the module has them, and frames that can be followed.
const FLAGS: &str = "-Crelocation-model=static -Cforce-frame-pointers=yes";
const LINKING: Duration = Duration::from_secs(120);
/// How long the machine may take, and for each packet more: many times what it takes.
const RUNNING: Duration = Duration::from_secs(600);
const PASSING: Duration = Duration::from_millis(2);
/// What QEMU ends with when the kernel says that all went well, or that it did not.
const WELL: i32 = 33;
const BADLY: i32 = 35;

/// Packets, half of them on each of the two kernels that there are.
pub const PACKETS: u64 = 100_000;

/// A module that is wrong: its name, what its `_init` does, and what the machine says.
const CONTROLS: [(&str, &str, &[&str]); 4] = [
    ("vectors", "movaps %xmm0,%xmm1", &["invalid instruction", "_init+"]),
    ("floating-point", "fld1", &["floating point", "_init+"]),
    ("stack", "1: push %rax\njmp 1b", &["page fault", "it overran"]),
    ("constants", "movq $1,constant", &["page fault", "_init+"]),
];

/// The small kernel, and the machine for it.
pub struct Ring0 {
    emulator: Emulator,
    kernel: PathBuf,
}

impl Ring0 {
    /// Builds the kernel. Where there is no machine to be had, it cannot run.
    pub fn prepare() -> Result<Self> {
        let emulator = Emulator::fetch();
        let emulator = emulator.map_err(|_| CannotRun("SKIPPED, because there is no QEMU"))?;
        Ok(Self { emulator, kernel: build()? })
    }

    /// Lets it run the modules that are wrong; each must be found out. Answers their names.
    pub fn controls(&self) -> Result<String> {
        for (name, code, says) in CONTROLS {
            let output = self.start(&control(name, code)?, "control", RUNNING)?;
            let text = &output.stdout;
            let is_found =
                output.status.code() == Some(BADLY) && says.iter().all(|it| text.contains(it));
            ensure!(is_found, "module '{name}' should have ended with {says:?}:\n{text}");
        }
        Ok(CONTROLS.map(|(name, ..)| name).join(", "))
    }

    /// Lets it run the module; answers what it printed.
    pub fn module(&self, module: &Path, packets: u64) -> Result<String> {
        let limit = RUNNING.saturating_add(PASSING * u32::try_from(packets).unwrap_or(u32::MAX));
        let output = self.start(module, &format!("packets={packets}"), limit)?;
        let Output { status, stdout, stderr, .. } = &output;
        ensure!(status.code() == Some(WELL), "{stdout}{stderr}\nthe machine ended with {status}");
        Ok(stdout.clone())
    }

    /// Runs the machine to its end, with a module and the recorded requests.
    fn start(&self, module: &Path, words: &str, limit: Duration) -> Result<Output> {
        let mut bytes = fs::read(module)?;
        let words = format!("module={} {words}", bytes.len());
        bytes.extend(records()?.bytes());
        let image = module.with_extension("ring0");
        fs::write(&image, bytes)?;
        self.emulator
            .cmd(|program| Cmd::new(program))
            .args(["-accel", "tcg", "-cpu", "max", "-m", "1024", "-no-reboot", "-nodefaults"])
            .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"])
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(image)
            .args(["-append", &words])
            .timeout(limit)
            .output()
            .with_context(|| format!("running {} in ring 0", module.display()))
    }
}

/// Examples of all requests in their newest form: lines of a command's name and of bytes.
fn records() -> Result<String> {
    let folder = root().join("tests").join("data").join("wire");
    let mut lines = String::new();
    for (_, name) in COMMANDS {
        let path = folder.join(name).with_extension("hex");
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let newest = text.rsplit("version ").next().unwrap_or_default();
        for request in newest.lines().filter_map(|line| line.strip_prefix("request")) {
            writeln!(lines, "{name}{request}")?;
        }
    }
    Ok(lines)
}

/// Builds the module and lets it run so many packets, and the modules that are wrong; prints what
/// the machine said.
pub fn run(packets: u64) -> Result<bool> {
    let module = super::build::module()?;
    let ring0 = Ring0::prepare()?;
    println!("found out: modules with bad {}", ring0.controls()?);
    let begun = Instant::now();
    print!("{}", ring0.module(&module, packets)?);
    println!("{:.1} s in the machine", begun.elapsed().as_secs_f32());
    Ok(true)
}

/// Builds the kernel; answers where it is.
fn build() -> Result<PathBuf> {
    setup::install(&[setup::KERNEL_MODULE])?;
    let target = target_dir()?.join("kmod");
    let folder = sources().join("ring0");
    cargo_with_sources()
        .args(["rustc", "--release", "-p", "xde-illumos-ring0", "--lib"])
        .args(["--crate-type", "staticlib", "-Zbuild-std=core,alloc"])
        .args(["-Zbuild-std-features=compiler-builtins-mem", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .show()?;
    let archive = target.join(TARGET).join("release").join("libxde_illumos_ring0.a");
    let (start, kernel) = (target.join("ring0-start.o"), target.join("ring0"));
    Cmd::new("as").arg(folder.join("start.s")).arg("-o").arg(&start).run()?;
    Cmd::new("ld")
        .args(["-static", "-nostdlib", "--gc-sections", "--no-warn-rwx-segments", "-T"])
        .arg(folder.join("kernel.lds"))
        .arg("-o")
        .arg(&kernel)
        .arg(&start)
        .arg(&archive)
        .timeout(LINKING)
        .run()?;
    Ok(kernel)
}

/// Makes a module whose `_init` does something that it must not do.
fn control(name: &str, code: &str) -> Result<PathBuf> {
    let target = target_dir()?.join("kmod").join("ring0-controls").join(name);
    fs::create_dir_all(&target)?;
    let (text, object) = (target.join("module.s"), target.join("module.o"));
    fs::write(&text, CONTROL.replace("#code", code))?;
    Cmd::new("as").arg(&text).arg("-o").arg(&object).run()?;
    finish(&object, &target)
}

/// Entry points that do nothing, but for `#code`.
const CONTROL: &str = "
    .section .text._init,\"ax\",@progbits
    .globl _init
    .type _init,@function
_init:
    push %rbp
    mov %rsp,%rbp
    #code
    xor %eax,%eax
    pop %rbp
    ret
    .size _init,.-_init
    .section .text._info,\"ax\",@progbits
    .globl _info
    .type _info,@function
_info:
    ret
    .size _info,.-_info
    .section .text._fini,\"ax\",@progbits
    .globl _fini
    .type _fini,@function
_fini:
    ret
    .size _fini,.-_fini
    .section .rodata,\"a\",@progbits
constant:
    .quad 0
";
