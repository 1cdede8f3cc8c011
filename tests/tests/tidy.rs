// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! What must not be in the tree. Cheap and textual: each rule names the place that breaks it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates and what they may depend on among the project's own, and what they must not know.
const LAYERS: &[(&str, &[&str])] = &[
    ("opte/api", &[]),
    ("opte", &["opte-api"]),
    ("oxide-vpc/api", &["opte-api"]),
    ("oxide-vpc", &["opte", "opte-api", "oxide-vpc-api"]),
    ("xde", &["opte", "opte-api", "oxide-vpc", "oxide-vpc-api"]),
    ("opte-ioctl", &["opte-api", "oxide-vpc-api"]),
    ("opteadm", &["opte-api", "opte-ioctl", "oxide-vpc-api"]),
];
/// Crates that must run in a kernel.
const CORES: &[&str] = &["opte/api", "opte", "oxide-vpc/api", "oxide-vpc", "xde"];
/// Crates of an operating system, which no core may depend on.
const SYSTEMS: &[&str] =
    &["libc", "nix", "rustix", "parking_lot", "tracing", "tokio", "mio", "anyhow", "clap"];
/// Where the operating system is met.
const UNSAFE_HOMES: &[&str] =
    &["xde/illumos/", "xde/illumos-sys-hdrs/", "xde/linux/src/sys", "opte-ioctl/src/sys"];
/// Where a platform is chosen.
const PLATFORM_HOMES: &[&str] = &["xde/illumos/", "xde/linux/", "opte-ioctl/src/sys"];
/// Functions whose names end like twins, with the reason why they are none.
const NOT_TWINS: &[(&str, &str)] = &[
    ("is_ipv4", "asks for the family"),
    ("way_in", "looks up by destination; the way out looks up by owner"),
    ("way_out", "looks up by owner; the way in looks up by destination"),
    ("parse_ipv4", "the header formats differ"),
    ("parse_ipv6", "the header formats differ"),
    ("read_ipv4", "the header formats differ"),
    ("read_ipv6", "the header formats differ"),
];
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Paths from the root, and texts, of all files with this ending.
fn files(ending: &str) -> BTreeMap<String, String> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    walk(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), ending, &mut found);
    let named = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    found.into_iter().map(named).collect()
}

/// The code of a file without its unit tests and its comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn is_core(path: &str) -> bool {
    let src = |core: &str| path.starts_with(&format!("{core}/src/"));
    CORES.iter().copied().any(src)
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Names in the dependency tables of a manifest, without development dependencies.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.starts_with("[dependencies") || line.contains(".dependencies");
        } else if inside && line.chars().next().is_some_and(char::is_alphabetic) {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn arrows_point_one_way() {
    let own =
        |name: &str| name.starts_with("opte") || name.starts_with("oxide-vpc") || name == "xde";
    let mut wrong = Vec::new();
    for (folder, allowed) in LAYERS {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for name in dependencies(&manifest) {
            if own(&name) && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{folder} depends on {name}"));
            }
            if CORES.contains(folder) && SYSTEMS.contains(&name.as_str()) {
                wrong.push(format!("{folder} depends on {name}, a crate of an operating system"));
            }
            if *folder == "opte" && ["serde", "postcard"].contains(&name.as_str()) {
                wrong.push(format!("the engine depends on {name}, a serialiser"));
            }
        }
    }
    none("dependencies against the architecture", wrong);
}

#[test]
fn no_cargo_features() {
    let with = |(path, text): (String, String)| text.contains("\n[features]").then_some(path);
    none("manifests with features", files("Cargo.toml").into_iter().filter_map(with).collect());
}

#[test]
fn cores_forbid_unsafe_and_std() {
    for core in CORES {
        let lib = fs::read_to_string(root().join(core).join("src/lib.rs")).unwrap();
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            assert!(lib.contains(attribute), "{core}/src/lib.rs has no {attribute}");
        }
    }
}

#[test]
fn unsafe_and_platforms_have_an_address() {
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        let lives_in = |homes: &[&str]| homes.iter().any(|home| path.starts_with(home));
        let is_this = path.ends_with("tests/tidy.rs");
        for line in code(&text).filter(|_| !is_this) {
            let word = |word: &str| {
                line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
            };
            if word("unsafe") && !lives_in(UNSAFE_HOMES) {
                wrong.push(format!("{path}: {line}"));
            }
            if line.contains("target_os") && !lives_in(PLATFORM_HOMES) {
                wrong.push(format!("{path}: {line}"));
            }
        }
    }
    none("unsafe code or platforms in the wrong place", wrong);
}

#[test]
fn direction_and_family_are_data() {
    let endings = ["_in", "_out", "_v4", "_v6", "_ipv4", "_ipv6", "_inbound", "_outbound"];
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        for line in code(&text).filter(|_| is_core(&path)) {
            let Some((_, rest)) = line.split_once("fn ") else { continue };
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let excused = NOT_TWINS.iter().any(|(known, _)| *known == name);
            if endings.iter().any(|ending| name.ends_with(ending)) && !excused {
                wrong.push(format!("{path}: fn {name}"));
            }
        }
    }
    none("functions named like twins", wrong);
}

#[test]
fn drops_are_made_in_one_place() {
    let mut places = Vec::new();
    for (path, text) in files(".rs").into_iter().filter(|(path, _)| path.starts_with("opte/src/")) {
        let made = |line: &&str| line.contains("Verdict::Drop(");
        places.extend(code(&text).filter(made).map(|line| format!("{path}: {line}")));
    }
    assert_eq!(places.len(), 1, "Verdict::Drop is made in:\n{}", places.join("\n"));
}

#[test]
fn files_are_short_licensed_and_finished() {
    let unfinished = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!"];
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        if !text
            .starts_with("// This Source Code Form is subject to the terms of the Mozilla Public")
        {
            wrong.push(format!("{path} has no licence notice"));
        }
        if text.lines().count() > MAX_LINES {
            wrong.push(format!("{path} has over {MAX_LINES} lines"));
        }
        if !path.ends_with("tests/tidy.rs") {
            let marks = unfinished.iter().filter(|mark| text.contains(**mark));
            wrong.extend(marks.map(|mark| format!("{path} has a {mark}")));
        }
    }
    none("files", wrong);
}
