// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What runs beside the module on illumos: `opteadm`, and the plug-in that makes `/dev/xde`.
//!
//! There are no libraries of illumos here. So a program is compiled and put into one relocatable file, and the names that
//! are left to the libraries are held to a list; the last step is done on the host.

use super::build::{cargo_with_sources, sources};
use super::gate::Allowed;
use crate::setup;
use crate::shell::Cmd;
use crate::workspace::target_dir;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

const TARGET: &str = "x86_64-unknown-illumos";
const PLUGIN_TARGET: &str = "i686-illumos-devfsadm";
/// Name of the plug-in, of which devfsadmd knows the ending.
const PLUGIN: &str = "SUNW_xde_link.so";
/// What the plug-in takes from devfsadmd and libdevinfo.
const PLUGIN_IMPORTS: [&str; 2] = ["devfsadm_mklink", "di_minor_name"];
const LINKING: Duration = Duration::from_secs(300);

/// Undefined names of a file.
fn undefined(file: &PathBuf, dynamic: bool) -> Result<BTreeSet<String>> {
    let which = if dynamic { "-uDP" } else { "-uP" };
    let names = Cmd::new("nm").arg(which).arg(file).timeout(LINKING).run()?;
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(names.lines().filter_map(first).collect())
}

/// Compiles `opteadm`; answers the file that needs nothing but illumos's libraries.
pub fn opteadm() -> Result<PathBuf> {
    setup::install(&[setup::KERNEL_MODULE])?;
    let target = target_dir()?.join("kmod");
    cargo_with_sources()
        .args(["build", "--release", "-p", "opteadm", "-Zbuild-std=std,panic_abort"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        // For this target the compiler has it done by a program that Debian does not have.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_TARGET_X86_64_UNKNOWN_ILLUMOS_LINKER", sources().join("ld-with-holes.sh"))
        .show()?;
    let program = target.join(TARGET).join("release").join("opteadm");
    let allowed = Allowed::read(&sources().join("opteadm-imports.txt"))?;
    let missing = undefined(&program, false)?;
    let unknown: Vec<_> = missing.iter().filter(|name| !allowed.has(name)).collect();
    ensure!(unknown.is_empty(), "opteadm needs names that are not on the list: {unknown:?}");
    let unused: Vec<_> = allowed.names().filter(|name| !missing.contains(*name)).collect();
    ensure!(unused.is_empty(), "names on opteadm's list that it does not need: {unused:?}");
    Ok(program)
}

/// Builds the plug-in.
pub fn plugin() -> Result<PathBuf> {
    setup::install(&[setup::KERNEL_MODULE])?;
    let target = target_dir()?.join("kmod");
    let folder = sources().join("link");
    cargo_with_sources()
        .args(["rustc", "--release", "-p", "xde-illumos-link", "--lib"])
        .args(["--crate-type", "staticlib", "-Zbuild-std=core", "-Zjson-target-spec", "--target"])
        .arg(folder.join(PLUGIN_TARGET).with_extension("json"))
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .show()?;
    let archive = target.join(PLUGIN_TARGET).join("release").join("libxde_illumos_link.a");
    let (library, whole) = (target.join(PLUGIN), target.join(PLUGIN).with_extension("debug"));
    Cmd::new("ld")
        .args(["-m", "elf_i386", "-shared", "-h", PLUGIN, "-z", "text", "--gc-sections"])
        .args(["-u", "_devfsadm_create_reg", "--version-script"])
        .arg(folder.join("exports.map"))
        .arg("-o")
        .arg(&whole)
        .arg(archive)
        .timeout(LINKING)
        .run()?;
    let names = Cmd::new("nm").arg(&whole).timeout(LINKING).run()?;
    ensure!(!names.contains("panic"), "something in the plug-in can panic:\n{names}");
    Cmd::new("strip").arg("-o").arg(&library).arg(&whole).timeout(LINKING).run()?;
    let imports = undefined(&library, true)?;
    ensure!(
        imports.iter().eq(PLUGIN_IMPORTS),
        "the plug-in imports {imports:?}, not {PLUGIN_IMPORTS:?}"
    );
    Ok(library)
}
