// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The illumos kernel module: built here, linked here, and held to what the kernel's loader
//! demands.

mod build;
mod gate;
mod package;
mod userland;

use anyhow::{Context, Result, ensure};
use gate::{Allowed, Report};
use std::fs;
use std::path::PathBuf;

/// Names that the module may import, each with who has it.
const IMPORTS: &str = "imports.txt";

/// Builds all that is installed on a host, and puts it together; answers where the manifest and the
/// tar are. A module that breaks a rule is not packaged.
pub fn package() -> Result<[PathBuf; 2]> {
    let module = make()?;
    ensure!(module.show(), "the module breaks a rule");
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
    /// Tells what the module is like; answers whether it may be shipped.
    pub fn show(&self) -> bool {
        let report = &self.report;
        let [code, data, zeroed] = report.sizes;
        println!("{}: {} bytes", self.path.display(), self.size);
        println!("  {code} bytes of code, {data} of data, {zeroed} zeroed");
        println!("  {} instructions; needs {}", report.instructions, report.depends.join(", "));
        for (size, name) in report.frames.iter().take(3) {
            println!("  frame of {size} bytes: {name}");
        }
        println!("  probes:");
        report.probes.iter().for_each(|(name, count)| println!("    {name}: {count}"));
        println!("  {} imports:", report.imports.len());
        report.imports.iter().for_each(|name| println!("    {name}"));
        report.problems.iter().for_each(|problem| println!("  WRONG: {problem}"));
        report.problems.is_empty()
    }
}
