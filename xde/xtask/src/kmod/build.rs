// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! From the sources to a file that the kernel's loader takes.
//!
//! The compiler is Debian's, which comes with the source of its own `core` and `alloc`. `ld -r`
//! puts everything into one relocatable file by the script in `xde/illumos`, in which nothing but
//! the three entry points can be seen.

use crate::setup;
use crate::shell::Cmd;
use crate::workspace::{root, target_dir};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const COMPILER: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const TARGET: &str = "x86_64-illumos-kernel";
const ENTRY_POINTS: [&str; 3] = ["_init", "_info", "_fini"];
/// Functions that are made part of their callers add to their callers' frames, and a kernel's stack
/// is short. This is the cost up to which the compiler does it.
const INLINING: &str = "-Cllvm-args=-inline-threshold=25";
/// How long a step of the linker may take.
const LINKING: Duration = Duration::from_secs(120);

/// Debian's cargo with Debian's compiler, for targets whose libraries are built along. Everything
/// that the user has set for other builds is left out.
pub fn cargo_with_sources() -> Cmd {
    Cmd::new(CARGO)
        .dir(root())
        .env("RUSTC", COMPILER)
        // A stable compiler builds its own libraries only when told that it may.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC_WRAPPER", "")
        .env("RUSTFLAGS", "")
        // Set by the cargo that runs us, for itself.
        .env("CARGO_BUILD_RUSTC", COMPILER)
}

/// Builds and links the module; answers where it is.
pub fn module() -> Result<PathBuf> {
    setup::install(&[setup::KERNEL_MODULE])?;
    let target = target_dir()?.join("kmod");
    compile(&target)?;
    let archive = target.join(TARGET).join("release").join("libxde_illumos.a");
    finish(&archive, &target)
}

/// Where the module's sources are.
pub fn sources() -> PathBuf {
    root().join("xde").join("illumos")
}

fn compile(target: &Path) -> Result<()> {
    cargo_with_sources()
        .args(["rustc", "--release", "-p", "xde-illumos", "--lib", "--crate-type", "staticlib"])
        // Sorting, above all, would take a page of the stack.
        .args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=optimize_for_size"])
        .args(["-Zjson-target-spec", "--target"])
        .arg(sources().join(TARGET).with_extension("json"))
        .arg("--target-dir")
        .arg(target)
        // One unit, so that all that is not reached can be left out.
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
        .args(["--", INLINING])
        .show()
}

/// Links an archive or an object; answers the module, and leaves one with line numbers beside it.
pub fn finish(archive: &Path, target: &Path) -> Result<PathBuf> {
    let (depends, whole) = (target.join("depends.o"), target.join("xde.debug"));
    Cmd::new("as").arg(sources().join("depends.s")).arg("-o").arg(&depends).run()?;
    let entry_points = ENTRY_POINTS.iter().flat_map(|name| ["-u", name]);
    Cmd::new("ld")
        .args(["-r", "--gc-sections"])
        .args(entry_points)
        .arg("-T")
        .arg(sources().join("module.lds"))
        .arg("-o")
        .arg(&whole)
        .arg(&depends)
        .arg(archive)
        .timeout(LINKING)
        .run()?;
    let module = target.join("xde");
    let hidden = ENTRY_POINTS.iter().map(|name| format!("--keep-global-symbol={name}"));
    Cmd::new("objcopy")
        .arg("--strip-debug")
        .args(hidden)
        .arg(&whole)
        .arg(&module)
        .timeout(LINKING)
        .run()?;
    fs::metadata(&module).with_context(|| format!("{} was not made", module.display()))?;
    Ok(module)
}
