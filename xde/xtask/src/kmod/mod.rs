// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The illumos kernel module: built here, linked here, and held to what the kernel's loader
//! demands.

mod build;
pub mod checks;
mod gate;
pub mod harness;
mod package;
pub mod ring0;
mod userland;

use anyhow::{Context, Result, ensure};
use gate::{Allowed, Report};
use std::fs;
use std::path::PathBuf;

/// Longest chains of calls that are told.
const DEPTHS: usize = 8;
/// Names that the module may import, each with who has it.
const IMPORTS: &str = "imports.txt";

/// Builds all that is installed on a host, and puts it together; answers where the manifest and the
/// tar are. A module that breaks a rule is not packaged.
pub fn package() -> Result<[PathBuf; 2]> {
    let module = make()?;
    module.show();
    ensure!(module.problems().is_empty(), "the module breaks a rule");
    package::make(&module)
}

/// A module that was built and checked.
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of the file.
    size: usize,
    report: Report,
}

/// Builds the module and checks it.
pub fn make() -> Result<Built> {
    let path = build::module()?;
    let allowed = Allowed::read(&build::sources().join(IMPORTS))?;
    let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut report = gate::check(&data, &allowed)?;
    let unused = allowed.names().filter(|name| !report.imports.contains(*name));
    let unused: Vec<String> =
        unused.map(|name| format!("{IMPORTS} allows {name}, which is not imported")).collect();
    report.problems.extend(unused);
    Ok(Built { path, size: data.len(), report })
}

impl Built {
    /// Every rule that it breaks. One that breaks none may be shipped.
    pub fn problems(&self) -> &[String] {
        &self.report.problems
    }

    /// What it is like, in a line.
    pub fn summary(&self) -> String {
        let report = &self.report;
        let frame = report.frames.first().map_or(0, |(size, _)| *size);
        let depth = report.depths.first().map_or(0, |depth| depth.bytes);
        format!(
            "{} KiB, {} imports, {} probes at {} places; largest frame {frame} B, deepest stack {depth} B",
            self.size >> 10,
            report.imports.len(),
            report.probes.len(),
            report.probes.values().sum::<usize>(),
        )
    }

    /// Tells what it is like.
    pub fn show(&self) {
        let report = &self.report;
        println!("{}", self.summary());
        let [code, data, zeroed] = report.sizes;
        println!("{}: {} bytes", self.path.display(), self.size);
        println!("  {code} bytes of code, {data} of data, {zeroed} zeroed");
        println!("  {} instructions; needs {}", report.instructions, report.depends.join(", "));
        for (size, name) in report.frames.iter().take(3) {
            println!("  frame of {size} bytes: {name}");
        }
        self.show_stack();
        println!("  probes:");
        report.probes.iter().for_each(|(name, count)| println!("    {name}: {count}"));
        println!("  {} imports:", report.imports.len());
        report.imports.iter().for_each(|name| println!("    {name}"));
        report.problems.iter().for_each(|problem| println!("  WRONG: {problem}"));
    }

    fn show_stack(&self) {
        let report = &self.report;
        println!("  stack, from where the kernel calls:");
        for depth in report.depths.iter().take(DEPTHS) {
            let chain = depth.chain.iter().map(|(name, frame)| format!("{name} {frame}"));
            println!("    {} bytes: {}", depth.bytes, chain.collect::<Vec<_>>().join(" > "));
        }
        println!("    {} calls of unknown functions", report.unknown_calls);
        let recursive = report.recursive.join(", ");
        println!("    {} functions call themselves: {recursive}", report.recursive.len());
    }
}
