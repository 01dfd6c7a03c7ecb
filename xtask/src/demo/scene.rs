//! Everything the demo starts: the internet's servers, the chain with its contracts, the sidecar,
//! the relay and the client. In the order of the fields' dependence; ended in the reverse order.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::chain::{Chain, EXIT_ID};
use super::lab::{self, Host, Lab};
use super::process::Process;
use crate::{http, sh};

/// Long enough for a debug build on a busy machine; every start is usually done in a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a program may take to end after SIGTERM.
pub const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A payer may be so far ahead of its signatures before the relay stops it.
pub const WINDOW_BYTES: u64 = 64 << 20;

pub const RELAY_ADMIN: &str = "127.0.0.1:19600";
pub const CLIENT_ADMIN: &str = "127.0.0.1:19601";
pub const SETTLE_ADMIN: &str = "127.0.0.1:19602";
pub const SOCKS: &str = "127.0.0.1:11080";
pub const HTTP_PROXY: &str = "127.0.0.1:18080";
const RELAY_PORT: u16 = 14433;
const UNPRIVILEGED_PORTS: u16 = 20_000;

/// What client and exit both signed, in the folder of the run.
pub const SAMPLES: &str = "samples.jsonl";

/// Target-facing names; the lab's own DNS server knows them.
pub const WEB: &str = "web.lab.test";
pub const ECHO: &str = "echo.lab.test";
pub const PRIVATE: &str = "private.lab.test";

/// The programs under test, built by this run.
pub struct Binaries {
    pub weir: PathBuf,
    pub settle: PathBuf,
    pub lab: PathBuf,
}

impl Binaries {
    /// Builds them with the release profile: figures of a debug build would say nothing.
    pub fn build() -> Result<Binaries> {
        let mut build = sh::cargo();
        build.args(["build", "--release", "--locked", "-p", "weir", "-p", "weir-settle"]);
        build.args(["-p", "weir-bench"]);
        sh::step("build weir, weir-settle and weir-lab (minutes the first time)", &mut build)?;
        let dir = sh::target_dir().join("release");
        Ok(Binaries {
            weir: dir.join("weir"),
            settle: dir.join("weir-settle"),
            lab: dir.join("weir-lab"),
        })
    }
}

/// The running lab.
pub struct Scene {
    pub client: Process,
    pub relay: Process,
    pub settle: Process,
    pub chain: Chain,
    pub internet: Process,
    pub binaries: Binaries,
    pub dir: RunDir,
    pub lab: Lab,
    pub xdp: bool,
}

/// The folder of one run, gone at its end. Under the system's temporary folder, because the path
/// of a unix socket may not be longer than 107 bytes.
pub struct RunDir {
    path: PathBuf,
    pub keep: bool,
}

impl RunDir {
    fn new() -> Result<RunDir> {
        let path = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("can't make {}", path.display()))?;
        Ok(RunDir { path, keep: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only its owner can read.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        use std::io::Write as _;
        let path = self.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(content.as_bytes())?;
        Ok(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("warning: can't remove {}: {error}", self.path.display());
        }
    }
}

impl Scene {
    pub fn start(lab: Lab, binaries: Binaries, keep: bool) -> Result<Scene> {
        let mut dir = RunDir::new()?;
        dir.keep = true;
        let started = Scene::start_in(lab, binaries, dir);
        if let Ok(mut scene) = started {
            scene.dir.keep = keep;
            return Ok(scene);
        }
        started
    }

    fn start_in(lab: Lab, binaries: Binaries, dir: RunDir) -> Result<Scene> {
        let xdp = lab.is_isolated();
        eprintln!("==> start the lab in {}", dir.path().display());
        let internet = start_internet(&lab, &binaries, &dir)?;
        let chain = Chain::start(&lab, &binaries, &dir)?;
        let settle = start_settle(&lab, &binaries, &dir, &chain)?;
        let relay = start_relay(&lab, &binaries, &dir, &chain, xdp)?;
        let client = start_client(&lab, &binaries, &dir, &chain, None)?;
        Ok(Scene { client, relay, settle, chain, internet, binaries, dir, lab, xdp })
    }

    /// Starts the relay again with the same configuration, after it was killed.
    pub fn restart_relay(&mut self) -> Result<()> {
        self.relay = start_relay(&self.lab, &self.binaries, &self.dir, &self.chain, self.xdp)?;
        Ok(())
    }

    /// Ends the sidecar and starts it again with the configuration as it is now.
    pub fn restart_settle(&mut self) -> Result<()> {
        self.settle.terminate(STOP_LIMIT)?;
        // So that its socket means that it is up again.
        let _ = fs::remove_file(self.dir.join("settle.sock"));
        self.settle = start_settle(&self.lab, &self.binaries, &self.dir, &self.chain)?;
        Ok(())
    }

    /// Ends the client and starts one that measures under this agreement.
    pub fn restart_client(&mut self, agreement: &Path) -> Result<()> {
        self.client.terminate(STOP_LIMIT)?;
        let agreement = Some(agreement);
        self.client = start_client(&self.lab, &self.binaries, &self.dir, &self.chain, agreement)?;
        Ok(())
    }

    pub fn relay_status(&self) -> Result<Value> {
        http::request(&self.lab, Host::Relay, "GET", RELAY_ADMIN.parse()?, "/status", "")
    }

    pub fn client_usage(&self) -> Result<Value> {
        http::request(&self.lab, Host::Client, "GET", CLIENT_ADMIN.parse()?, "/usage", "")
    }

    /// Name of the folder of this run's pinned maps.
    pub fn instance(&self) -> String {
        instance()
    }

    /// Leaves everything running; the ids of the programs.
    pub fn keep(&mut self) -> [u32; 5] {
        for process in [&mut self.client, &mut self.relay, &mut self.settle, &mut self.internet] {
            process.keep();
        }
        self.chain.keep();
        [self.client.id(), self.relay.id(), self.settle.id(), self.internet.id(), self.chain.id()]
    }

    /// Ends everything in the right order; what didn't end by itself is reported.
    pub fn stop(&mut self) -> Result<Vec<&'static str>> {
        let mut stuck = Vec::new();
        for (name, process) in
            [("client", &mut self.client), ("relay", &mut self.relay), ("settle", &mut self.settle)]
        {
            if !process.terminate(STOP_LIMIT)? {
                stuck.push(name);
            }
        }
        self.chain.stop();
        self.internet.kill();
        Ok(stuck)
    }
}

fn start_internet(lab: &Lab, binaries: &Binaries, dir: &RunDir) -> Result<Process> {
    let (v4, v6) = internet_addresses(lab);
    let mut command = lab.on(Host::Internet, &binaries.lab);
    command.args(["serve", "--v4", v4, "--v6", v6, "--dir"]).arg(dir.path());
    if !lab.is_isolated() {
        for (option, standard) in
            [("--http-port", 80), ("--h3-port", 443), ("--echo-port", 7), ("--dns-port", 53)]
        {
            command.args([option, &port(lab, standard).to_string()]);
        }
    }
    let mut process = Process::start("internet", command, dir.path())?;
    let log = dir.join("internet.log");
    process.wait_until(START_LIMIT, || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("\"ready\""))
    })?;
    Ok(process)
}

/// The port of a server of the internet: the standard one, or one that needs no privilege where
/// everything shares one host.
pub fn port(lab: &Lab, standard: u16) -> u16 {
    if lab.is_isolated() { standard } else { UNPRIVILEGED_PORTS + standard }
}

/// IPv4 and IPv6 address of the internet's servers.
pub fn internet_addresses(lab: &Lab) -> (&'static str, &'static str) {
    if lab.is_isolated() { (lab::INTERNET_V4, lab::INTERNET_V6) } else { ("127.0.0.1", "::1") }
}

fn start_settle(lab: &Lab, binaries: &Binaries, dir: &RunDir, chain: &Chain) -> Result<Process> {
    let config = dir.write("settle.toml", &chain.settle_config(dir))?;
    let mut command = lab.on(Host::Relay, &binaries.settle);
    command.arg("run").arg("-c").arg(config);
    let mut process = Process::start("settle", command, dir.path())?;
    let socket = dir.join("settle.sock");
    process.wait_until(START_LIMIT, || socket.exists())?;
    Ok(process)
}

fn start_relay(
    lab: &Lab,
    binaries: &Binaries,
    dir: &RunDir,
    chain: &Chain,
    xdp: bool,
) -> Result<Process> {
    let config = relay_config(lab, dir, chain, xdp) + &chain.measurer_grants(dir)?;
    let config = dir.write("relay.toml", &config)?;
    let mut command = lab.on(Host::Relay, &binaries.weir);
    command.arg("run").arg("-c").arg(config);
    let mut process = Process::start("relay", command, dir.path())?;
    let admin: SocketAddr = RELAY_ADMIN.parse()?;
    process.wait_until(START_LIMIT, || {
        http::request(lab, Host::Relay, "GET", admin, "/status", "").is_ok()
    })?;
    Ok(process)
}

fn relay_config(lab: &Lab, dir: &RunDir, chain: &Chain, xdp: bool) -> String {
    let run_dir = dir.path().display();
    let channel = &chain.channel;
    let relay_address = relay_address(lab);
    let token_sha256 = &chain.token_sha256;
    let (v4, _) = internet_addresses(lab);
    let dns_port = port(lab, 53);
    let (listen, allow) = if lab.is_isolated() {
        (
            format!("[\"0.0.0.0:{RELAY_PORT}\", \"[::]:{RELAY_PORT}\"]"),
            "[\"198.51.100.0/24\", \"2001:db8:2::/64\"]",
        )
    } else {
        (
            format!("[\"127.0.0.1:{RELAY_PORT}\", \"[::1]:{RELAY_PORT}\"]"),
            "[\"127.0.0.1/32\", \"::1/128\"]",
        )
    };
    let xdp = if xdp {
        format!(
            "[xdp]\nmode = \"auto\"\ninterfaces = [\"r0\", \"r1\"]\ninstance = \"{}\"\n",
            instance()
        )
    } else {
        "[xdp]\nmode = \"off\"\n".to_owned()
    };
    format!(
        r#"[relay]
name = "demo-exit"
workers = 1
listen = {listen}
admin = "{RELAY_ADMIN}"
run_dir = "{run_dir}/relay"
drain_s = 5

[tls]
self_signed = true
names = ["exit.lab.test", "{relay_address}"]

{xdp}
[exit]
allow = {allow}

[dns]
servers = ["{v4}:{dns_port}"]

[settle]
socket = "{run_dir}/settle.sock"
exit_id = "{EXIT_ID}"
window = {WINDOW_BYTES}
grace_s = 30

[[grant]]
name = "demo-payer"
token_sha256 = "{token_sha256}"
channel = "{channel}"
"#
    )
}

/// Where clients find the relay. IPv6 on this leg; the targets are reached over both.
pub fn relay_url(lab: &Lab) -> String {
    format!("https://[{}]:{RELAY_PORT}", relay_address(lab))
}

fn start_client(
    lab: &Lab,
    binaries: &Binaries,
    dir: &RunDir,
    chain: &Chain,
    agreement: Option<&Path>,
) -> Result<Process> {
    let mut command = lab.on(Host::Client, &binaries.weir);
    command
        .arg("client")
        .args(["--relay", &relay_url(lab)])
        .args(["--token", &format!("file:{}", dir.join("token").display())])
        .arg("--ca")
        .arg(dir.join("relay/self-signed.crt"))
        .args(["--socks", SOCKS, "--http", HTTP_PROXY, "--admin", CLIENT_ADMIN]);
    chain.payer_options(&mut command, dir);
    if let Some(agreement) = agreement {
        command.arg("--sla-agreement").arg(agreement);
        command.arg("--sla-samples").arg(dir.join(SAMPLES));
    }
    let mut process = Process::start("client", command, dir.path())?;
    let admin: SocketAddr = CLIENT_ADMIN.parse()?;
    process.wait_until(START_LIMIT, || {
        http::request(lab, Host::Client, "GET", admin, "/usage", "").is_ok()
    })?;
    Ok(process)
}

fn instance() -> String {
    format!("demo{}", std::process::id())
}

fn relay_address(lab: &Lab) -> &'static str {
    if lab.is_isolated() { lab::RELAY_V6 } else { "::1" }
}
