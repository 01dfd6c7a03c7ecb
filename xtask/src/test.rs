//! `cargo xtask test`: set-up, then every check and test there is, cheapest first.

use std::time::Instant;

use anyhow::Result;

use crate::{contracts, demo, ebpf, instructions, setup, sh, tidy, vendor};

pub fn run(args: &[String]) -> Result<()> {
    let mut with_demo = true;
    for arg in args {
        match arg.as_str() {
            "--skip-demo" => with_demo = false,
            other => anyhow::bail!("xtask test has no option {other:?}; it has --skip-demo"),
        }
    }
    let start = Instant::now();
    setup::run(setup::Need::all())?;
    tidy::run(&[])?;
    vendor::run(&["check".into()])?;
    sh::step("formatting", sh::cargo().args(["fmt", "--all", "--check"]))?;
    sh::step(
        "lints",
        sh::cargo().args([
            "clippy",
            "--workspace",
            "--no-deps",
            "--all-targets",
            "--locked",
            "--",
            "-Dwarnings",
        ]),
    )?;
    contracts::run(&["check".into()])?;
    contracts::run(&["test".into()])?;
    ebpf::run(&["check".into()])?;
    if sh::is_root() {
        ebpf::run(&["verify".into()])?;
    } else {
        eprintln!("SKIP: loading the object into this kernel needs root");
    }
    rust_tests()?;
    if with_demo {
        let unprivileged = ["--unprivileged".to_owned()];
        demo::run(if sh::is_root() { &[] } else { &unprivileged })?;
    }
    instructions::run(&[])?;
    eprintln!("==> all green in {:.1} min", start.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// All Rust tests. The build makes the binaries, too, before any test runs: relay/e2e starts them.
/// As root a privileged test must run: with this variable it fails where it would otherwise print
/// `SKIP: reason`.
fn rust_tests() -> Result<()> {
    let mut build = sh::cargo();
    sh::step(
        "build every test",
        build.args(["test", "--workspace", "--locked", "--no-run", "--quiet"]),
    )?;
    let mut test = sh::cargo();
    test.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if sh::is_root() {
        test.env("WEIR_REQUIRE_PRIVILEGED", "1");
    }
    sh::result_step("every Rust test", &mut test)
}
