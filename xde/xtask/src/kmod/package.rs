// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What is installed on a host: an IPS manifest, and the same files in a tar.

use super::build::sources;
use super::{Built, userland};
use crate::shell::Cmd;
use crate::workspace::{root, target_dir};
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Name of the package.
const NAME: &str = "driver/network/opte";
/// Where what is not the system's goes.
const HOME: &str = "opt/opte";

/// A file of the package.
struct Item {
    from: PathBuf,
    to: String,
    mode: &'static str,
    group: &'static str,
}

/// Puts everything together; answers the manifest and the tar.
pub fn make(module: &Built) -> Result<[PathBuf; 2]> {
    let items = items(module)?;
    let folder = target_dir()?.join("package");
    let tree = folder.join("proto");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    for item in &items {
        put(item, &tree)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let manifest = folder.join("opte.p5m");
    let text = manifest_of(&items, version);
    fs::write(&manifest, text).with_context(|| format!("cannot write {}", manifest.display()))?;
    let tar = folder.join(format!("opte-{version}.tar"));
    Cmd::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-cf"])
        .arg(&tar)
        .arg("-C")
        .arg(&folder)
        .args(["opte.p5m", "proto"])
        .run()?;
    verify(&items, &tar)?;
    Ok([manifest, tar])
}

/// What the manifest names is in the tar, and nothing else.
fn verify(items: &[Item], tar: &Path) -> Result<()> {
    let listed = Cmd::new("tar").arg("-tf").arg(tar).run()?;
    let mut there: Vec<&str> = listed.lines().filter(|line| !line.ends_with('/')).collect();
    let named = items.iter().map(|item| format!("proto/{}", item.to));
    let mut named: Vec<String> = named.chain(["opte.p5m".to_owned()]).collect();
    there.sort_unstable();
    named.sort_unstable();
    ensure!(there == named, "the tar has {there:?}, the manifest {named:?}");
    Ok(())
}

fn items(module: &Built) -> Result<Vec<Item>> {
    let file = |from: PathBuf, to: &str, mode, group| Item { from, to: to.into(), mode, group };
    let mut items = vec![
        file(module.path.clone(), "kernel/drv/amd64/xde", "0755", "sys"),
        file(sources().join("xde.conf"), "kernel/drv/xde.conf", "0644", "sys"),
        file(userland::plugin()?, "usr/lib/devfsadm/linkmod/SUNW_xde_link.so", "0755", "sys"),
        file(userland::opteadm()?, &format!("{HOME}/bin/opteadm.o"), "0644", "bin"),
        file(sources().join("link-opteadm"), &format!("{HOME}/bin/link-opteadm"), "0755", "bin"),
        file(sources().join("README.md"), &format!("{HOME}/doc/README.md"), "0644", "bin"),
        file(root().join("LICENSE"), &format!("{HOME}/doc/LICENSE"), "0644", "bin"),
    ];
    let scripts = root().join("dtrace");
    for script in scripts_in(&scripts)? {
        let below = script.strip_prefix(&scripts).unwrap_or(&script).display();
        let to = format!("{HOME}/dtrace/{below}");
        items.push(file(script, &to, "0644", "bin"));
    }
    for (name, mode) in [("opte-trace", "0755"), ("README.md", "0644")] {
        items.push(file(scripts.join(name), &format!("{HOME}/dtrace/{name}"), mode, "bin"));
    }
    Ok(items)
}

/// All D scripts below a folder, in order.
fn scripts_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(scripts_in(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "d") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn put(item: &Item, tree: &Path) -> Result<()> {
    let to = tree.join(&item.to);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let from = item.from.display();
    fs::copy(&item.from, &to).with_context(|| format!("cannot copy {from} to {}", to.display()))?;
    Cmd::new("chmod").arg(item.mode).arg(&to).run().map(drop)
}

/// A manifest as pkgsend(1) reads it, see pkg(7). The driver action does what `add_drv` does.
fn manifest_of(items: &[Item], version: &str) -> String {
    let mut text = format!(
        "set name=pkg.fmri value=pkg:/{NAME}@{version}\n\
         set name=pkg.summary value=\"OPTE packet transform engine: driver xde and opteadm\"\n\
         set name=variant.arch value=i386\n\
         set name=variant.opensolaris.zone value=global\n\
         license {HOME}/doc/LICENSE license=MPL-2.0\n\
         driver name=xde perms=\"* 0666 root sys\"\n\
         depend type=require fmri=system/kernel\n\
         depend type=require fmri=system/library\n"
    );
    let folders = items.iter().flat_map(|item| Path::new(&item.to).ancestors().skip(1));
    let ours = folders.filter(|folder| folder.starts_with(HOME));
    let mut folders: Vec<_> = ours.map(|folder| folder.display().to_string()).collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
        // Writing to a text does not fail.
        let _ = writeln!(text, "dir path={folder} owner=root group=bin mode=0755");
    }
    for Item { to, mode, group, .. } in items {
        let reboot = if to == "kernel/drv/amd64/xde" { " reboot-needed=true" } else { "" };
        let _ = writeln!(text, "file {to} path={to} owner=root group={group} mode={mode}{reboot}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_every_file_and_folder_once() {
        let item = |to: &str| Item { from: "x".into(), to: to.into(), mode: "0644", group: "bin" };
        let items = [item("kernel/drv/amd64/xde"), item("opt/opte/doc/README.md")];
        let text = manifest_of(&items, "1.2.3");
        let lines = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((lines("file "), lines("dir "), lines("driver name=xde")), (2, 2, 1));
        assert!(text.contains("pkg:/driver/network/opte@1.2.3\n"));
        assert!(text.contains("path=kernel/drv/amd64/xde owner=root group=bin mode=0644 reboot"));
    }

    #[test]
    fn scripts_are_found_below_their_folder() {
        assert!(scripts_in(&root().join("dtrace")).is_ok());
        assert!(scripts_in(Path::new("/no/such/folder")).is_err());
    }
}
