//! `cargo xtask ebpf build | check | verify`: the kernel object.
//!
//! The object is committed, so that nobody needs LLVM or the kernel target for a plain build. What
//! keeps it honest is that anybody can build it again and gets the same bytes.

mod disassembly;
mod elf;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use toolchain::Toolchain;

const USAGE: &str = "usage: cargo xtask ebpf build | check | verify

  build    compile ebpf/program and write ebpf/object (installs bpf-linker if it is missing)
  check    compile again and compare with what is committed
  verify   as root: load the committed object on this kernel and print the verifier's statistics";

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "weir.bpf.o";
const DIGEST: &str = "weir.bpf.o.sha256";
const LISTING: &str = "weir.bpf.s";

/// Runs the chore.
pub fn run(args: &[String]) -> Result<()> {
    let [chore] = args else { bail!("{USAGE}") };
    match chore.as_str() {
        "build" => build(),
        "check" => check(),
        "verify" => verify(),
        _ => bail!("{USAGE}"),
    }
}

fn build() -> Result<()> {
    let built = Built::compile()?;
    let dir = object_dir();
    fs::create_dir_all(&dir)?;
    for (name, contents) in built.files() {
        let path = dir.join(name);
        fs::write(&path, contents).with_context(|| format!("can't write {}", path.display()))?;
    }
    println!("wrote {}: {} bytes, sha256 {}", dir.display(), built.object.len(), built.sha256);
    Ok(())
}

fn check() -> Result<()> {
    let built = Built::compile()?;
    let dir = object_dir();
    // The listing first: its first difference says more than two digests.
    let committed = fs::read_to_string(dir.join(LISTING)).context(LISTING)?;
    if let Some((number, old, new)) = first_difference(&committed, &built.listing) {
        bail!(
            "{}:{number} differs from what the sources give:\n  committed: {old}\n  built:     {new}\n\
             If the sources are right, run `cargo xtask ebpf build` and commit the result.",
            dir.join(LISTING).display()
        );
    }
    for (name, contents) in built.files() {
        let path = dir.join(name);
        let committed =
            fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        ensure!(
            committed == contents,
            "{} differs from what the sources give, though the instructions are the same: debug \
             information or maps changed. Run `cargo xtask ebpf build` and commit the result.",
            path.display()
        );
    }
    println!("ebpf/object is what the sources give: sha256 {}", built.sha256);
    Ok(())
}

/// The loader is in weir-xdp, which chores don't link.
fn verify() -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "weir-xdp", "--example", "verify"])
        .current_dir(root())
        .status()
        .context("can't start cargo")?;
    ensure!(status.success(), "the kernel did not take the object (see above)");
    Ok(())
}

struct Built {
    object: Vec<u8>,
    sha256: String,
    listing: String,
}

impl Built {
    fn compile() -> Result<Self> {
        let program = root().join("ebpf/program");
        let toolchain = Toolchain::find_or_install()?;
        let status = toolchain
            .cargo(&root())
            .args(["build", "--release", "--locked", "--bin", "weir", "-Z", "build-std=core"])
            .args(["--target", TARGET])
            .current_dir(&program)
            .status()
            .context("can't start cargo")?;
        ensure!(status.success(), "ebpf/program does not build (see above)");
        let path = program.join("target").join(TARGET).join("release/weir");
        let linked = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let object = elf::without_dwarf(&linked).context("bpf-linker wrote an odd object")?;
        let listing = disassembly::listing(&object).context("can't disassemble the object")?;
        let sha256 = sha256(&object)?;
        Ok(Self { object, sha256, listing })
    }

    fn files(&self) -> [(&'static str, Vec<u8>); 3] {
        [
            (OBJECT, self.object.clone()),
            (DIGEST, format!("{}  {OBJECT}\n", self.sha256).into_bytes()),
            (LISTING, self.listing.clone().into_bytes()),
        ]
    }
}

/// By coreutils, whose `sha256sum -c` also reads the digest file.
fn sha256(bytes: &[u8]) -> Result<String> {
    use std::io::Write as _;
    let mut child = Command::new("sha256sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .context("can't start sha256sum (coreutils)")?;
    child.stdin.take().context("sha256sum has no stdin")?.write_all(bytes)?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum said nothing")
}

/// Line number from 1, and both lines.
fn first_difference(old: &str, new: &str) -> Option<(usize, String, String)> {
    let (mut old, mut new) = (old.lines(), new.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                let text = |line: Option<&str>| line.unwrap_or("(end of file)").trim().to_owned();
                return Some((number, text(old), text(new)));
            }
        }
    }
    None
}

fn object_dir() -> PathBuf {
    root().join("ebpf/object")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").into()
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let (number, old, new) = first_difference("a\nb\nc\n", "a\nx\nc\n").expect("differ");
        assert_eq!((number, old.as_str(), new.as_str()), (2, "b", "x"));
        let (number, old, new) = first_difference("a\n", "a\nb\n").expect("differ");
        assert_eq!((number, old.as_str(), new.as_str()), (2, "(end of file)", "b"));
    }
}
