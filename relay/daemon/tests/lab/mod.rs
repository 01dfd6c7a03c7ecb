//! A relay, a client and targets on loopback: the real binary as child processes.

pub(crate) mod binary;
pub(crate) mod socks;
pub(crate) mod target;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const TOKEN: &str = "lab-token";
/// For what comes within moments, and on a busy host within seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A relay that ends with its value.
pub(crate) struct Relay {
    pub(crate) child: Child,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) admin: SocketAddr,
    pub(crate) fingerprint: String,
}

/// Polls until there is an answer.
pub(crate) fn wait_for<T>(what: &str, poll: impl FnMut() -> Option<T>) -> T {
    wait_up_to(PATIENCE, what, poll)
}

/// The same for what may need several attempts.
pub(crate) fn wait_up_to<T>(
    patience: Duration,
    what: &str,
    mut poll: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that is free on loopback, for UDP and TCP, IPv4 and IPv6. It is below the range from
/// which the kernel gives ports away, and each test process starts at another place, so that
/// nobody takes it before it is used.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    wait_for("a free port", || {
        let start = 10_000 + (std::process::id() % 180) as u16 * 100;
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("::1", port)).is_ok();
        free.then_some(port)
    })
}

pub(crate) fn sha256_hex(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A configuration for loopback; `extra` comes behind it.
pub(crate) fn config(
    dir: &std::path::Path,
    port: u16,
    admin: u16,
    workers: u16,
    extra: &str,
) -> String {
    format!(
        "[relay]\nname = \"lab\"\nworkers = {workers}\npin = false\n\
         listen = [\"127.0.0.1:{port}\", \"[::1]:{port}\"]\nadmin = \"127.0.0.1:{admin}\"\n\
         run_dir = \"{}\"\ndrain_s = 8\n\
         [tls]\nself_signed = true\nnames = [\"localhost\"]\n\
         [exit]\nallow = [\"127.0.0.1/32\", \"::1/128\"]\n\
         [[grant]]\nname = \"lab\"\ntoken_sha256 = \"{}\"\n{extra}\n",
        dir.join("run").display(),
        sha256_hex(TOKEN),
    )
}

impl Relay {
    /// Starts a relay and waits until it serves.
    pub(crate) fn start(workers: u16, extra: &str) -> Relay {
        let dir = tempfile::tempdir().unwrap();
        let (port, admin) = (free_port(), free_port());
        fs::write(dir.path().join("relay.toml"), config(dir.path(), port, admin, workers, extra))
            .unwrap();
        let child = spawn(&dir.path().join("relay.toml"), &dir.path().join("relay.log"));
        let admin = SocketAddr::from(([127, 0, 0, 1], admin));
        let mut relay = Relay { child, dir, port, admin, fingerprint: String::new() };
        relay.wait_ready();
        relay
    }

    fn wait_ready(&mut self) {
        wait_for("the relay to be ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the relay ended with {status}:\n{}", self.log());
            }
            (http(self.admin, "GET", "/readyz")?.0 == 200).then_some(())
        });
        self.fingerprint = self.status()["certificate_sha256"].as_str().unwrap().to_owned();
    }

    /// Starts again with the same configuration and run directory.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.path("relay.toml"), &self.path("relay.log"));
        self.wait_ready();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("relay.log")).unwrap_or_default()
    }

    pub(crate) fn status(&self) -> Value {
        let (code, body) = http(self.admin, "GET", "/status").expect("the relay answers");
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until all tunnels that were opened are closed, and returns the totals.
    pub(crate) fn totals(&self, transport: &str, tunnels: u64) -> Value {
        wait_for("the tunnels to close", || {
            let kind = self.status()["totals"][transport].clone();
            (kind["tunnels"] == tunnels && kind["open"] == 0).then_some(kind)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        wait_for("the relay to end", || self.child.try_wait().unwrap())
    }

    /// A client of this relay.
    pub(crate) fn client(&self, connections: usize) -> Client {
        self.client_at("127.0.0.1", connections, TOKEN).unwrap_or_else(|log| panic!("{log}"))
    }

    /// A client, or what it said when it ended.
    pub(crate) fn client_at(
        &self,
        host: &str,
        connections: usize,
        token: &str,
    ) -> Result<Client, String> {
        self.client_by(host, connections, ["--token", "env:WEIR_TEST_TOKEN"], token)
    }

    /// A client that shows `access`; `token` is in its environment.
    pub(crate) fn client_by(
        &self,
        host: &str,
        connections: usize,
        access: [&str; 2],
        token: &str,
    ) -> Result<Client, String> {
        let socks = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let options = format!("--socks {socks} --connections {connections}");
        let options: Vec<&str> = access.into_iter().chain(options.split(' ')).collect();
        self.client_with(host, &options, token).map(|(child, log)| Client { child, socks, log })
    }

    /// A client with these options beside the relay's address and pin, and its log.
    pub(crate) fn client_with(
        &self,
        host: &str,
        options: &[&str],
        token: &str,
    ) -> Result<(Child, PathBuf), String> {
        let log = self.path(&format!("client-{}.log", free_port()));
        let mut child = Command::new(binary::weir())
            .args(["client", "--relay", &format!("https://{host}:{}", self.port)])
            .args(["--pin-sha256", &self.fingerprint])
            .args(options)
            .env("WEIR_TEST_TOKEN", token)
            .stderr(fs::File::create(&log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let read = || fs::read_to_string(&log).unwrap_or_default();
        let ready = wait_for("the client to be ready", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            read().contains("the client is ready").then_some(true)
        });
        if ready { Ok((child, log)) } else { Err(read()) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the relay's log:\n{}", self.log());
        }
    }
}

/// A client that ends with its value.
pub(crate) struct Client {
    child: Child,
    pub(crate) socks: SocketAddr,
    pub(crate) log: PathBuf,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn spawn(config: &std::path::Path, log: &std::path::Path) -> Child {
    spawn_by(Command::new(binary::weir()), config, log)
}

/// Starts a relay by a command that ends with the binary.
pub(crate) fn spawn_by(
    mut command: Command,
    config: &std::path::Path,
    log: &std::path::Path,
) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    command.args(["run", "-c"]).arg(config).stderr(log).stdout(Stdio::null()).spawn().unwrap()
}

/// One request without a body.
pub(crate) fn http(to: SocketAddr, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
