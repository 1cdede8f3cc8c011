// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A virtual machine: QEMU, a kernel and a small Linux, all out of Debian's packages.
//!
//! Packages are unpacked below `target/machine` and not installed, so that nothing on this machine
//! changes, and no right is needed for it. QEMU uses KVM if its guests run with it here, else it
//! emulates, which is slower and otherwise the same.

mod emulator;

pub use emulator::Emulator;

use crate::lab::processes::Daemon;
use crate::shell::{Cmd, wait_until};
use crate::workspace::target_dir;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Always the kernel of the release; it depends on the package that has the files.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
const BUSYBOX_PACKAGE: &str = "busybox-static";
/// Kernel modules that a network card needs, unless they are built in.
const MODULES: [&str; 10] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "ipv6",
    "af_packet",
];
/// The kernel must not judge its timers by how soon they tick: an emulated machine may be kept
/// waiting for its processor.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 no_timer_check";
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a machine may take to its first word: with KVM, which may hang, and emulated.
const FIRST_WORD: [(&str, Duration); 2] =
    [("kvm", Duration::from_secs(10)), ("tcg", Duration::from_secs(120))];

/// What a machine is made of.
pub struct Parts {
    emulator: Emulator,
    kernel: PathBuf,
    busybox: PathBuf,
}

/// Fetches the parts, or finds those of last time.
pub fn fetch() -> Result<Parts> {
    let home = target_dir()?.join("machine");
    let emulator = Emulator::fetch()?;
    let kernel = unpacked(&home.join("kernel"), kernel_packages)?;
    let busybox = unpacked(&home.join("busybox"), || Ok(vec![BUSYBOX_PACKAGE.into()]))?;
    Ok(Parts { emulator, kernel, busybox: busybox.join("bin/busybox") })
}

fn kernel_packages() -> Result<Vec<String>> {
    let text = Cmd::new("apt-cache").args(["depends", KERNEL_PACKAGE]).run()?;
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let image = names.into_iter().find(|name| name.starts_with("linux-image-"));
    Ok(vec![image.with_context(|| format!("no kernel behind {KERNEL_PACKAGE}"))?.into()])
}

/// Unpacks packages into a folder, unless that was done.
fn unpacked(folder: &Path, packages: impl Fn() -> Result<Vec<String>>) -> Result<PathBuf> {
    if folder.exists() {
        return Ok(folder.into());
    }
    let partial = folder.with_extension("partial");
    let debs = folder.with_extension("debs");
    for dir in [&partial, &debs] {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
    }
    let download = || {
        let names = packages()?;
        ensure!(!names.is_empty(), "no package brings {}", folder.display());
        Cmd::new("apt-get").arg("download").args(names).dir(&debs).timeout(DOWNLOAD_TIMEOUT).run()
    };
    if download().is_err() {
        // Lists may be missing or too old to download from; who may not renew them is told below.
        let _ = Cmd::new("apt-get").args(["update", "-qq"]).timeout(DOWNLOAD_TIMEOUT).run();
        download()?;
    }
    for deb in fs::read_dir(&debs)? {
        Cmd::new("dpkg-deb").arg("-x").arg(deb?.path()).arg(&partial).run()?;
    }
    fs::remove_dir_all(&debs)?;
    // Only what is whole has the name.
    fs::rename(&partial, folder)?;
    Ok(folder.into())
}

impl Parts {
    fn kernel_image(&self) -> Result<PathBuf> {
        let boot =
            fs::read_dir(self.kernel.join("boot"))?.filter_map(|entry| Some(entry.ok()?.path()));
        let is_image = |path: &PathBuf| path.to_string_lossy().contains("/vmlinuz-");
        boot.into_iter().find(is_image).context("no vmlinuz in the kernel's package")
    }

    /// Makes the file system that the machine has in its memory.
    fn image(&self, folder: &Path) -> Result<PathBuf> {
        let tree = folder.join("root");
        for dir in ["bin", "lib", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(tree.join(dir))?;
        }
        fs::copy(&self.busybox, tree.join("bin/busybox"))?;
        for (name, text) in [
            ("init", include_str!("init.sh")),
            ("tmp/dhcp-event", include_str!("../dhcp-event.sh")),
        ] {
            fs::write(tree.join(name), text)?;
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(0o755))?;
        }
        let modules: Vec<PathBuf> = MODULES.iter().filter_map(|m| find(&self.kernel, m)).collect();
        ensure!(
            modules.iter().any(|path| path.ends_with("virtio_net.ko")),
            "the kernel's package has no virtio_net.ko"
        );
        for module in modules {
            fs::copy(&module, tree.join("lib").join(module.file_name().context("no name")?))?;
        }
        let image = folder.join("initrd");
        let script = "cd \"$0\" && find . | \"$1\" cpio -o -H newc >\"$2\"";
        Cmd::new("sh").args(["-c", script]).arg(&tree).arg(&self.busybox).arg(&image).run()?;
        Ok(image)
    }
}

/// A module's file, by its name.
fn find(folder: &Path, module: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let wanted = format!("{module}.ko");
    let here = files.into_iter().find(|path| path.ends_with(&wanted));
    here.or_else(|| folders.iter().find_map(|folder| find(folder, module)))
}

/// A machine that runs. It is ended when this value is dropped.
pub struct Machine {
    daemon: Daemon,
    /// How QEMU runs it.
    pub accelerator: &'static str,
}

impl Machine {
    /// Starts one whose network card is the TAP device `tap` with the address `mac`. `exec` calls
    /// a program where that device is; `variables` are what its first program is told.
    pub fn start(
        parts: &Parts,
        exec: impl Fn(&str) -> Cmd,
        (tap, mac): (&str, &str),
        variables: &str,
        (scratch, logs): (&Path, &Path),
    ) -> Result<Self> {
        fs::create_dir_all(scratch)?;
        let image = parts.image(scratch)?;
        let kernel = parts.kernel_image()?;
        let mut why = None;
        for (accelerator, limit) in FIRST_WORD {
            let card = format!("tap,id=n0,ifname={tap},script=no,downscript=no");
            let device = format!("virtio-net-pci,netdev=n0,mac={mac},romfile=");
            let cmd = parts
                .emulator
                .cmd(&exec)
                .args(["-accel", accelerator, "-m", "256", "-no-reboot", "-nodefaults"])
                .args(["-display", "none", "-serial", "stdio", "-monitor", "none"])
                .args(["-netdev", &card, "-device", &device])
                .arg("-kernel")
                .arg(&kernel)
                .arg("-initrd")
                .arg(&image)
                .arg("-append")
                .arg(format!("{KERNEL_OPTIONS} {variables}"));
            let daemon = Daemon::start(&format!("machine-{accelerator}"), cmd, logs)?;
            let mut machine = Self { daemon, accelerator };
            match machine.hear("up", limit) {
                Ok(_) => return Ok(machine),
                Err(error) => why = Some(error),
            }
        }
        Err(why.context("no way to run a machine")?)
    }

    /// Waits for a line of the machine, and answers what it says behind `word`.
    pub fn hear(&mut self, word: &str, limit: Duration) -> Result<String> {
        wait_until(&format!("'{word}' from the machine"), limit, || {
            let log = self.daemon.log();
            // The last line may be under way.
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            let mut lines = whole.lines().filter_map(|line| line.trim().strip_prefix("VM "));
            if let Some(rest) = lines.clone().find_map(|line| line.strip_prefix(word)) {
                return Ok(Some(rest.trim().to_owned()));
            }
            if let Some(failed) = lines.find(|line| line.starts_with("failed")) {
                bail!("the machine {failed}");
            }
            self.daemon.check_running()?;
            Ok(None)
        })
    }
}
