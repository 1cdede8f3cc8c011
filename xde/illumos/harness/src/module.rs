// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The module in this process: loaded by the rules of the kernel's own loader into the low 2 GiB,
//! where its code can reach itself as in the top 2 GiB, with probes that can fire.

use anyhow::{Context, Result, anyhow, ensure};
use opte::event::Dropped;
use std::path::Path;
use std::ptr::{NonNull, null_mut, with_exposed_provenance};
use std::sync::{Mutex, MutexGuard, OnceLock, RwLock};
use xde_illumos_loader::{Loaded, Module, Part, Region};
use xde_illumos_shim::resolve;

/// All that is loaded, for the handler of traps.
static LOADED: RwLock<Vec<&'static Loaded>> = RwLock::new(Vec::new());
/// Probes that fired: their names, and the reason of each drop.
static FIRED: Mutex<Vec<Fired>> = Mutex::new(Vec::new());

/// A probe that fired.
#[derive(Clone, Debug)]
pub struct Fired {
    /// The probe as DTrace shows it.
    pub probe: String,
    /// Number of the reason, if a frame was dropped.
    pub reason: Option<u8>,
}

/// Loads the file once more; it stays for good.
pub fn load(path: &Path) -> Result<&'static Loaded> {
    let file = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let module = Module::parse(&file).map_err(|error| anyhow!("{error}"))?;
    let room = module.room();
    let (text, data) = (memory(room.text)?, memory(room.data)?);
    let loaded = module.load(text, data, address).map_err(|error| anyhow!("{error}"))?;
    let loaded: &'static Loaded = Box::leak(Box::new(loaded));
    LOADED.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push(loaded);
    Ok(loaded)
}

/// Names of the kernel: those of the shim, and what the C library has of the memory functions.
fn address(name: &str) -> Option<usize> {
    let of_the_library = match name {
        "memcpy" => libc::memcpy as *const (),
        "memmove" => libc::memmove as *const (),
        "memset" => libc::memset as *const (),
        "memcmp" => libc::memcmp as *const (),
        _ => return resolve(name),
    };
    Some(of_the_library.expose_provenance())
}

/// Memory below 2 GiB.
fn memory(part: Part) -> Result<Region> {
    let len = part.size.max(1).next_multiple_of(4096);
    // SAFETY: new memory, wherever the system wants it.
    let memory = unsafe {
        let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        libc::mmap(null_mut(), len, rights, kind, -1, 0)
    };
    ensure!(memory != libc::MAP_FAILED, "no memory in the low 2 GiB");
    let memory = NonNull::new(memory.cast::<u8>()).context("mmap")?;
    let address = memory.as_ptr().expose_provenance();
    // SAFETY: mapped for good, and nobody else's.
    Ok(unsafe { Region::new(memory, len, address) })
}

/// Switches on those probes of a module that are wanted, and the others off.
pub fn watch(loaded: &Loaded, wanted: impl Fn(&str) -> bool) {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // SAFETY: the handler keeps to what a handler of this kind is given; the structure may be
        // all zeros.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                on_trap;
            action.sa_sigaction = (handler as *const ()).addr();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGILL, &action, null_mut());
        }
    });
    for (number, site) in loaded.sites().iter().enumerate() {
        loaded.set_enabled(number, wanted(&site.probe));
    }
}

/// A trap of a probe: its argument is the address of an event. It happens in the module's code
/// alone, never inside of what this process does itself, so locks and memory may be used.
extern "C" fn on_trap(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: what the system passes to a handler of this kind.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let (rip, rdi) = (libc::REG_RIP as usize, libc::REG_RDI as usize);
    let at = registers[rip] as usize;
    let loaded = LOADED.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(trap) = loaded.iter().find_map(|loaded| loaded.trap(at)) else {
        eprintln!("an invalid instruction at {at:#x}");
        std::process::abort()
    };
    let event = with_exposed_provenance::<Dropped>(registers[rdi] as usize);
    // SAFETY: the probe's argument is such a structure, which lives while the probe fires.
    let reason = (trap.site.probe == DROPPED).then(|| unsafe { (*event).reason });
    fired().push(Fired { probe: trap.site.probe.clone(), reason });
    registers[rip] = trap.resume as i64;
}

fn fired() -> MutexGuard<'static, Vec<Fired>> {
    FIRED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The probe that tells of drops, which tests ask for.
pub const DROPPED: &str = "dropped";

/// Probes that fired since the last call, in order.
pub fn take_fired() -> Vec<Fired> {
    std::mem::take(&mut fired())
}

/// Whether a drop is among those that nobody has taken yet.
pub fn any_dropped() -> bool {
    fired().iter().any(|fired| fired.reason.is_some())
}

/// The function that an address of a module is in.
pub fn function_at(address: usize) -> Option<String> {
    let loaded = LOADED.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (name, offset) = loaded.iter().find_map(|loaded| loaded.function_at(address))?;
    Some(format!("{name}+{offset:#x}"))
}
