// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is shown, case by case.

mod life;
pub mod measure;
mod probes;
mod scenarios;
mod sweep;
mod threads;
mod traffic;
mod vectors;

use crate::host::Options;
use crate::module;
use anyhow::{Result, ensure};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use xde_illumos_loader::Loaded;
use xde_illumos_shim::modules::Kernel;

/// What a case is given.
pub struct Setting<'a> {
    path: &'a Path,
    loaded: Cell<[&'static Loaded; 2]>,
    /// There is a checker around: fewer rounds.
    pub plain: bool,
}

impl<'a> Setting<'a> {
    fn new(path: &'a Path, plain: bool) -> Result<Self> {
        Ok(Self { path, loaded: Cell::new([load(path)?, load(path)?]), plain })
    }

    /// The module in memory.
    pub fn loaded(&self) -> &'static Loaded {
        self.loaded.get()[0]
    }

    /// The module in memory once more, for a second host.
    pub fn second(&self) -> &'static Loaded {
        self.loaded.get()[1]
    }

    /// The module in memory was left in the middle of something: from now on there is another.
    pub fn load_anew(&self) -> Result<()> {
        self.loaded.set([load(self.path)?, load(self.path)?]);
        Ok(())
    }

    /// How hosts are made.
    pub fn options(&self, kernel: Kernel) -> Options {
        Options { plain: self.plain, ..Options::of(kernel) }
    }
}

/// Both kernels.
pub const KERNELS: [Kernel; 2] = [Kernel::Mainline, Kernel::Oxide];

type Case = (&'static str, fn(&Setting<'_>) -> Result<String>);

const CASES: &[Case] = &[
    ("life", life::whole),
    ("life: privileges and bad arguments", life::refusals),
    ("probes", probes::all),
    ("traffic: everywhere", traffic::everywhere),
    ("traffic: chains", traffic::chains),
    ("traffic: offloads", traffic::offloads),
    ("traffic: links", traffic::links),
    ("traffic: no memory", traffic::no_memory),
    ("threads: a port in use", threads::port),
    ("sweep: attach", sweep::attach),
    ("sweep: requests", sweep::requests),
    ("sweep: detach", sweep::detach),
    ("scenarios", scenarios::all),
    ("vectors", vectors::whole),
    ("vectors: cut at every place", vectors::cut),
];

/// Runs all cases whose names begin as wanted; whether all went well. Each says in a line what it
/// has shown.
pub fn run(path: &Path, only: &[String], plain: bool) -> Result<bool> {
    let setting = Setting::new(path, plain)?;
    let wanted = |name: &str| only.is_empty() || only.iter().any(|it| name.starts_with(it));
    let cases: Vec<&Case> = CASES.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!cases.is_empty(), "no case has such a name");
    let mut failed = 0;
    for (name, case) in &cases {
        let shown = catch_unwind(AssertUnwindSafe(|| case(&setting)));
        module::take_fired();
        if !matches!(shown, Ok(Ok(_))) {
            setting.load_anew()?;
        }
        match shown {
            Ok(Ok(shown)) => println!("ok    {name}: {shown}"),
            Ok(Err(error)) => {
                failed += 1;
                println!("FAIL  {name}: {error:#}");
            }
            Err(_) => {
                failed += 1;
                println!("FAIL  {name}");
            }
        }
    }
    println!("{} cases, {failed} failed", cases.len());
    Ok(failed == 0)
}

fn load(path: &Path) -> Result<&'static Loaded> {
    let loaded = module::load(path)?;
    module::watch(loaded, |probe| probe == module::DROPPED);
    Ok(loaded)
}
