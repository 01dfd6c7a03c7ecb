//! Starting other programs, with what they are for said on stderr.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A command that runs in the root of the checkout.
pub fn cmd(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// `cargo` as the user has it. The toolchain file decides on the compiler, so what cargo told this
/// process about its own one is taken out of the environment.
pub fn cargo() -> Command {
    let mut command = cmd("cargo");
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a step of a chore: says what it is for, lets its output through, fails with its command
/// line. What it prints goes to stderr, because a chore that has a result (`demo --json`) has
/// stdout for that alone.
pub fn step(what: &str, command: &mut Command) -> Result<()> {
    run_step(what, command.stdout(std::io::stderr()))
}

/// The same for a step whose output is the result, such as a test run.
pub fn result_step(what: &str, command: &mut Command) -> Result<()> {
    run_step(what, command)
}

fn run_step(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("can't start {}", line(command)))?;
    if !status.success() {
        bail!("{what}: {} ended with {status}", line(command));
    }
    eprintln!("    {what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs a command for what it prints; an error carries its stderr.
pub fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command and keeps everything that it prints.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("can't start {}", line(command)))
}

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether this process is root, read from the kernel rather than from the environment.
pub fn is_root() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
