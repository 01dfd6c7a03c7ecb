//! Where the binaries are that tests start.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The relay and client. Cargo names it to this package's own tests only.
pub(crate) fn weir() -> PathBuf {
    option_env!("CARGO_BIN_EXE_weir").map_or_else(|| built("weir"), PathBuf::from)
}

/// The binary of a package of the workspace, which has the package's name. It lies where
/// `cargo test --workspace` puts it before it runs anything.
///
/// # Panics
/// If it is missing, or older than what it is made of.
pub(crate) fn built(package: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST
    let folder = test.ancestors().nth(2).expect("a test lies in the target folder");
    let profile = if folder.ends_with("release") { " --release" } else { "" };
    let remedy = format!(
        "run `cargo build{profile} -p weir -p weir-settle -p weir-token` before, or `cargo test \
         --workspace`, which does that by itself"
    );
    let file = folder.join(package);
    let made = fs::metadata(&file).and_then(|file| file.modified());
    let made = made.unwrap_or_else(|error| panic!("{}: {error}; {remedy}", file.display()));
    let (changed, source) = youngest_source(package);
    assert!(changed <= made, "{} is older than {}; {remedy}", file.display(), source.display());
    file
}

/// Of a package and of all packages of the workspace that it links.
fn youngest_source(package: &str) -> (SystemTime, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut found = (SystemTime::UNIX_EPOCH, root.clone());
    let (mut waiting, mut seen) = (vec![package.to_owned()], BTreeSet::new());
    while let Some(package) = waiting.pop() {
        if !seen.insert(package.clone()) {
            continue;
        }
        let folder = root.join(folder_of(&workspace, &package));
        look_into(&folder.join("src"), &mut found);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let links = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]"));
        let names = links.unwrap_or_default().lines().filter(|line| line.starts_with("weir-"));
        waiting
            .extend(names.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned));
    }
    found
}

fn folder_of<'a>(workspace: &'a str, package: &str) -> &'a str {
    if package == "weir" {
        return "relay/daemon";
    }
    let start = format!("{package} = {{ path = \"");
    let found = workspace.lines().find_map(|line| line.strip_prefix(&start)?.split('"').next());
    found.unwrap_or_else(|| panic!("{package} is not in the workspace's dependencies"))
}

/// Modules of tests are no part of a binary.
fn look_into(folder: &Path, found: &mut (SystemTime, PathBuf)) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            look_into(&path, found);
        } else {
            let changed = entry.metadata().unwrap().modified().unwrap();
            if changed > found.0 {
                *found = (changed, path);
            }
        }
    }
}
