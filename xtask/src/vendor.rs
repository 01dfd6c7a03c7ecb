//! `cargo xtask vendor`: the one dependency that is carried with patches, and the proof that it is
//! nothing but the release and the patches.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::sh;

const CRATE: &str = "quinn-proto";
/// What is taken of the release.
const TAKEN: [&str; 4] = ["src", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT"];

pub fn run(args: &[String]) -> Result<()> {
    match args {
        [what] if what == "check" => check(),
        [what] if what == "apply" => apply(),
        [what] if what == "test" => test(),
        _ => bail!("xtask vendor wants `check`, `apply` or `test`"),
    }
}

fn check() -> Result<()> {
    let made = patched()?;
    let here = folder();
    for name in TAKEN {
        compare(&made.join(name), &here.join(name))?;
    }
    eprintln!("    vendor: {CRATE} is its release with the patches of relay/vendor/patches");
    Ok(())
}

fn apply() -> Result<()> {
    let made = patched()?;
    let here = folder();
    if here.exists() {
        fs::remove_dir_all(&here)?;
    }
    copy(&made, &here)
}

/// Runs the crate's own tests, and those that patches add, on the patched release.
fn test() -> Result<()> {
    check()?;
    let made = sh::target_dir().join("vendor").join(CRATE);
    // In a workspace of its own, with the versions that ours is locked to.
    let manifest = fs::read_to_string(made.join("Cargo.toml"))?;
    fs::write(made.join("Cargo.toml"), manifest + "\n[workspace]\n")?;
    fs::copy(sh::root().join("Cargo.lock"), made.join("Cargo.lock"))?;
    let mut tests = sh::cargo();
    tests.current_dir(&made).args(["test", "--no-default-features", "--features", "rustls-ring"]);
    tests.arg("--target-dir").arg(sh::target_dir());
    sh::step("test the patched release", &mut tests)
}

fn folder() -> PathBuf {
    sh::root().join("relay/vendor").join(CRATE)
}

/// The release with the patches applied, in a fresh folder below the target folder.
fn patched() -> Result<PathBuf> {
    let release = release()?;
    let work = sh::target_dir().join("vendor");
    let made = work.join(CRATE);
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    for name in TAKEN {
        copy(&release.join(name), &made.join(name))?;
    }
    let mut patches: Vec<PathBuf> = fs::read_dir(sh::root().join("relay/vendor/patches"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    patches.sort();
    // Outside of any repository, git applies relative to the folder it runs in.
    let ceiling = made.parent().unwrap_or(&made).to_path_buf();
    for patch in &patches {
        let mut git = sh::cmd("git");
        git.current_dir(&made).env("GIT_CEILING_DIRECTORIES", &ceiling).arg("apply").arg(patch);
        sh::read(&mut git).with_context(|| format!("{} doesn't apply", patch.display()))?;
    }
    Ok(made)
}

/// Where cargo has unpacked the release of the version that the workspace is locked to.
fn release() -> Result<PathBuf> {
    let manifest = fs::read_to_string(folder().join("Cargo.toml"))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = "))
        .context("the vendored manifest has no version")?
        .trim_matches('"');
    // A package of its own, because the workspace replaces the release by this folder.
    let work = sh::target_dir().join("vendor/fetch");
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "")?;
    fs::write(
        work.join("Cargo.toml"),
        format!(
            "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [dependencies]\n{CRATE} = {{ version = \"={version}\", default-features = false }}\n\n\
             [workspace]\n"
        ),
    )?;
    let mut metadata = sh::cargo();
    metadata.current_dir(&work).args(["metadata", "--format-version", "1", "--quiet"]);
    let metadata: Value = serde_json::from_str(&sh::read(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    packages
        .iter()
        .find(|package| package["name"] == CRATE)
        .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .map(Path::to_path_buf)
        .with_context(|| format!("cargo didn't fetch {CRATE} {version}"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        // Read and written, because the registry's copies are read-only for some users.
        fs::write(to, fs::read(from)?)?;
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn compare(made: &Path, here: &Path) -> Result<()> {
    if !made.is_dir() {
        if fs::read(made)? != fs::read(here).with_context(|| format!("{}", here.display()))? {
            bail!(
                "{} isn't the release with the patches: cargo xtask vendor apply",
                here.display()
            );
        }
        return Ok(());
    }
    let names = |folder: &Path| -> Result<Vec<_>> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .with_context(|| format!("{}", folder.display()))?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    };
    let wanted = names(made)?;
    if wanted != names(here)? {
        bail!("{} has other files than the release: cargo xtask vendor apply", here.display());
    }
    wanted.iter().try_for_each(|name| compare(&made.join(name), &here.join(name)))
}
