//! The contracts: rebuild the committed artefacts, compare them with the sources, run the tests.

mod artifact;
mod gas;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::sh;

const USAGE: &str = "\
cargo xtask contracts <build | check | gas | test>

  build   compile deploy/contracts and write artifacts/*.json
  check   compile, and fail if artifacts/*.json or GAS.md are stale or cost more than the goals
  gas     measure again, and write snapshots/Gas.json and GAS.md
  test    random vouchers from Rust, then all forge tests, the comparison with Rust among them";

/// How many random vouchers, channels and Merkle proofs Rust and Solidity must agree on.
const VECTORS: &str = "64";

/// Runs `cargo xtask contracts`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["build"] => build(),
        ["check"] => check(),
        ["gas"] => gas(),
        ["test"] => test(),
        _ => bail!("{USAGE}"),
    }
}

/// The chain tools, as paths of native binaries.
#[derive(Debug)]
pub(crate) struct Tools {
    /// A local chain for tests and demos.
    pub(crate) anvil: PathBuf,
    /// Builds and tests contracts.
    pub(crate) forge: PathBuf,
}

/// The chain tools of the lock file, installed into deploy/contracts/node_modules if they aren't.
pub(crate) fn tools() -> Result<Tools> {
    let platform = platform()?;
    let binary =
        |tool: &str| dir().join(format!("node_modules/@foundry-rs/{tool}-{platform}/bin/{tool}"));
    let tools = Tools { anvil: binary("anvil"), forge: binary("forge") };
    if !is_installed(&tools)? {
        install()?;
    }
    for tool in [&tools.anvil, &tools.forge] {
        if !tool.is_file() {
            bail!(
                "npm left {} out: its configuration omits optional packages, which hold the \
                 binaries. Try `npm config delete omit`",
                tool.display()
            );
        }
    }
    Ok(tools)
}

fn build() -> Result<()> {
    let built = compile()?;
    std::fs::create_dir_all(artifacts()).context("can't create deploy/contracts/artifacts")?;
    for (path, text) in &built {
        std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
        eprintln!("    wrote {}", path.display());
    }
    Ok(())
}

fn check() -> Result<()> {
    sh::step("format of the contracts", &mut forge(&tools()?, &["fmt", "--check"]))?;
    let mut wrong = Vec::new();
    for (path, text) in compile()? {
        match std::fs::read_to_string(&path) {
            Ok(committed) if committed == text => {}
            Ok(committed) => wrong.push(format!(
                "{} differs from the sources in: {}",
                path.display(),
                artifact::differences(&committed, &text)
            )),
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    if !wrong.is_empty() {
        bail!("{}\nRun `cargo xtask contracts build` and commit what it writes", wrong.join("\n"));
    }
    gas::check(&dir())?;
    eprintln!("    the artefacts and GAS.md are what the sources say");
    Ok(())
}

fn gas() -> Result<()> {
    let mut tests = forge(&tools()?, &["test", "--match-path", "test/Gas.t.sol"]);
    sh::step("measure gas", &mut tests)?;
    gas::write(&dir())?;
    gas::check(&dir())
}

fn test() -> Result<()> {
    let tools = tools()?;
    let vectors = dir().join("out/vectors");
    let mut generate = sh::cargo();
    generate.args(["run", "--quiet", "--package", "weir-usage", "--example", "vectors", "--"]);
    generate.arg(&vectors).arg(VECTORS);
    sh::step("sign random vouchers in Rust", &mut generate)?;
    // The gas figures are committed; a change must be seen and committed with its cause.
    let mut tests = forge(&tools, &["test"]);
    tests.env("FORGE_SNAPSHOT_CHECK", "true");
    sh::step("forge test", &mut tests)
}

/// Compiles everything and returns the artefacts as (path, text).
fn compile() -> Result<Vec<(PathBuf, String)>> {
    let tools = tools()?;
    sh::step("compile the contracts", &mut forge(&tools, &["build", "--force", "src", "lab"]))?;
    let contracts = artifact::CONTRACTS.iter();
    contracts
        .map(|name| {
            let text = artifact::pack(&dir(), name)?;
            Ok((artifacts().join(format!("{name}.json")), text))
        })
        .collect()
}

fn forge(tools: &Tools, args: &[&str]) -> Command {
    let mut command = Command::new(&tools.forge);
    command.current_dir(dir()).args(args);
    // Only foundry.toml decides how contracts are compiled, not the user's own settings.
    for (name, _) in std::env::vars() {
        if name.starts_with("FOUNDRY_") || name.starts_with("DAPP_") {
            command.env_remove(name);
        }
    }
    command
}

fn dir() -> PathBuf {
    sh::root().join("deploy/contracts")
}

fn artifacts() -> PathBuf {
    dir().join("artifacts")
}

/// The lock file that the installed packages belong to; written when the installation is complete.
fn marker() -> PathBuf {
    dir().join("node_modules/.installed-lock.json")
}

fn is_installed(tools: &Tools) -> Result<bool> {
    let lock = lock_file()?;
    let installed = std::fs::read(marker()).is_ok_and(|installed| installed == lock);
    let solc = dir().join("node_modules/solc/soljson.js");
    Ok(installed && [&tools.anvil, &tools.forge, &solc].iter().all(|file| file.is_file()))
}

fn install() -> Result<()> {
    for program in ["node", "npm"] {
        if !sh::has(program) {
            bail!(
                "`{program}` is missing: anvil, forge and solc come from the npm registry. Install \
                 Node.js 20 or newer with npm (Debian, Ubuntu: apt-get install nodejs npm)"
            );
        }
    }
    let mut npm = Command::new("npm");
    npm.current_dir(dir());
    // The packages are fixed by their hashes. No script of theirs is run: the install scripts only
    // fetch what the optional packages already hold.
    // `install` rather than `ci`, which insists on lock entries for the platforms of other people.
    npm.args(["install", "--no-save", "--ignore-scripts", "--include=dev", "--include=optional"]);
    npm.args(["--no-audit", "--no-fund", "--no-update-notifier"]);
    sh::step("install anvil, forge and solc with npm (about 170 MB on disk)", &mut npm)?;
    std::fs::write(marker(), lock_file()?).context("can't mark the npm packages as installed")
}

fn lock_file() -> Result<Vec<u8>> {
    let path = dir().join("package-lock.json");
    std::fs::read(&path).with_context(|| format!("can't read {}", Path::display(&path)))
}

/// The platform as the npm packages of Foundry spell it.
fn platform() -> Result<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-amd64"),
        ("linux", "aarch64") => Ok("linux-arm64"),
        (os, arch) => bail!("there is no npm package of anvil and forge for {os} on {arch}"),
    }
}
