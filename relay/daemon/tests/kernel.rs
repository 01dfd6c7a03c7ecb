//! The kernel programs, in a network namespace of their own: ledger B agrees with ledger A to the
//! byte for UDP, and a foreign program is left alone. Needs root; prints SKIP without, or panics
//! when WEIR_REQUIRE_PRIVILEGED=1.

#[expect(dead_code, reason = "the relay runs in another namespace than most of the lab expects")]
mod lab;
mod sidecar;

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use lab::socks::Association;
use lab::target::udp_echo;
use lab::{TOKEN, sha256_hex, spawn_by, wait_for};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use sidecar::{CHANNEL, EXIT, LANE, Sidecar};
use weir_usage::Frame;

/// A token whose bytes somebody pays for.
const PAYER: &str = "payer-token";

/// Two namespaces and a link between them; gone with the value.
struct Link {
    relay: String,
    peer: String,
}

impl Link {
    fn new(name: &str) -> Option<Link> {
        let link = Link { relay: format!("wdt{name}r"), peer: format!("wdt{name}p") };
        link.unpin();
        for namespace in [&link.relay, &link.peer] {
            let _ = ip(&["netns", "del", namespace]);
            if !ip(&["netns", "add", namespace]).is_ok_and(|done| done.status.success()) {
                assert!(
                    std::env::var_os("WEIR_REQUIRE_PRIVILEGED").is_none(),
                    "network namespaces can't be made"
                );
                println!("SKIP: network namespaces can't be made here; run as root");
                return None;
            }
        }
        let (relay, peer) = (&link.relay, &link.peer);
        let steps = format!(
            "link add {relay} netns {relay} numrxqueues 2 numtxqueues 2 type veth \
             peer name {peer} netns {peer} numrxqueues 2 numtxqueues 2\n\
             -n {relay} addr add 10.78.0.1/24 dev {relay}\n-n {peer} addr add 10.78.0.2/24 dev {peer}\n\
             -n {relay} link set lo up\n-n {peer} link set lo up\n\
             -n {relay} link set {relay} up\n-n {peer} link set {peer} up"
        );
        for step in steps.lines() {
            let done = ip(&step.split(' ').collect::<Vec<_>>()).unwrap();
            assert!(done.status.success(), "ip {step}: {done:?}");
        }
        Some(link)
    }

    /// A killed relay leaves its maps pinned, for the next one that here never comes.
    fn unpin(&self) {
        let _ = std::fs::remove_dir_all(format!("/sys/fs/bpf/weir/{}one", self.relay));
    }

    /// A relay on this link; `name` tells its files from another's.
    fn config(&self, dir: &Path, name: &str, port: u16, backend: &str) -> std::path::PathBuf {
        let file = dir.join(format!("{name}.toml"));
        let text = format!(
            "[relay]\nworkers = 2\npin = false\nlisten = [\"10.78.0.1:{port}\"]\n\
             admin = \"127.0.0.1:{port}\"\nrun_dir = \"{}\"\n[tls]\nself_signed = true\n\
             [io]\nbackend = \"{backend}\"\n[xdp]\nmode = \"auto\"\ninterfaces = [\"{}\"]\ninstance = \"{}{name}\"\n\
             [exit]\nallow = [\"10.78.0.2/32\"]\n\
             [[grant]]\nname = \"lab\"\ntoken_sha256 = \"{}\"\n",
            dir.join(name).display(),
            self.relay,
            self.relay,
            sha256_hex(TOKEN),
        );
        std::fs::write(&file, text).unwrap();
        file
    }

    fn status(&self, port: u16) -> Option<Value> {
        let output = inside(&self.relay, env!("CARGO_BIN_EXE_weir"))
            .args(["status", "--json", "--admin", &format!("127.0.0.1:{port}")])
            .output()
            .ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.unpin();
        for namespace in [&self.relay, &self.peer] {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// A child that ends with its value.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(arguments).output()
}

/// Unlike `ip netns exec`, this keeps the mount namespace, and with it the pinned maps.
fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

/// Runs `work` on a thread of its own, in another network namespace.
fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let link = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A client in a namespace, with its SOCKS5 port on loopback there.
fn client(namespace: &str, status: &Value, token: &str) -> Ends {
    let pin = status["certificate_sha256"].as_str().unwrap();
    let script = format!(
        "exec env WEIR_TEST_TOKEN={token} {} client --relay https://10.78.0.1:4433 \
         --token env:WEIR_TEST_TOKEN --pin-sha256 {pin} --socks 127.0.0.1:1080",
        env!("CARGO_BIN_EXE_weir")
    );
    let client = inside(namespace, "sh").args(["-c", &script]).stderr(Stdio::null()).spawn();
    Ends(client.unwrap())
}

/// So many datagrams to an echo and back, through the client's SOCKS5 port. The tunnel stays open
/// as long as the value.
fn echoes(datagrams: u32, bytes: usize) -> Association {
    let target = udp_echo("10.78.0.2");
    let proxy = SocketAddr::from(([127, 0, 0, 1], 1080));
    wait_for("the client to listen", || TcpStream::connect(proxy).ok());
    let app = Association::open(proxy);
    let mut payload = vec![0; bytes];
    for number in 0..datagrams {
        payload[..4].copy_from_slice(&number.to_be_bytes());
        app.send(target, &payload);
        assert_eq!(app.receive(), payload);
    }
    app
}

#[test]
fn ledger_b_agrees_and_outlives_the_process() {
    ledger_b_agrees("a", "auto");
}

/// What AF_XDP sends passes no program of the kernel, and is counted all the same.
#[test]
fn ledger_b_agrees_for_frames_too() {
    ledger_b_agrees("x", "xsk");
}

fn ledger_b_agrees(link: &str, backend: &str) {
    let Some(link) = Link::new(link) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (link.config(dir.path(), "one", 4433, backend), dir.path().join("log"));
    let read_log = || std::fs::read_to_string(&log).unwrap_or_default();
    let start = || Ends(spawn_by(inside(&link.relay, env!("CARGO_BIN_EXE_weir")), &file, &log));
    let mut relay = start();
    let status = wait_for("the relay", || {
        if let Some(status) = relay.0.try_wait().unwrap() {
            panic!("the relay ended with {status}:\n{}", read_log());
        }
        link.status(4433)
    });
    let log_text = read_log();
    assert_ne!(status["xdp"]["mode"], "off", "{log_text}");
    assert_eq!(status["steering"]["kind"], "ebpf", "{log_text}");

    // A second relay must not replace the first one's program.
    let other = link.config(dir.path(), "two", 4434, "auto");
    let text = std::fs::read_to_string(&other).unwrap();
    let text = text.replace("mode = \"auto\"", "mode = \"native\"");
    std::fs::write(&other, text).unwrap();
    let output = inside(&link.relay, env!("CARGO_BIN_EXE_weir"))
        .args(["run", "-c"])
        .arg(&other)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("already runs XDP program"), "{said}");

    let _client = client(&link.peer, &status, TOKEN);
    let app = within(&link.peer, || echoes(200, 700));
    let (datagrams, bytes) = (200_u64, 200 * 700_u64);
    let totals = wait_for("all datagrams to be counted", || {
        let udp = link.status(4433)?["totals"]["udp"].clone();
        (udp["a"]["down"]["forwarded"]["datagrams"] == datagrams).then_some(udp)
    });
    for direction in ["up", "down"] {
        assert_eq!(totals["a"][direction]["forwarded"]["bytes"], bytes, "{totals}");
        assert_eq!(totals["b"][direction]["payload_bytes"], bytes, "{totals}");
        assert_eq!(totals["b"][direction]["packets"], datagrams, "{totals}");
    }

    // What clients sent and got, by the engines and by the kernel: the same, once all is quiet.
    wait_for("ledger C to agree", || {
        let access = link.status(4433)?["access"].clone();
        assert_eq!(access["alarm"], false, "{access}");
        let least = access["c"]["up"]["bytes"].as_u64()? > bytes;
        (least && access["a"] == access["c"]).then_some(())
    });

    if backend == "xsk" {
        assert_eq!(status["backend"]["kind"], "xsk");
        let sockets = inside(&link.relay, "cat").arg("/proc/net/udp").output().unwrap();
        let sockets = String::from_utf8(sockets.stdout).unwrap();
        assert_eq!(sockets.lines().count(), 3, "two workers' and no tunnel's: {sockets}");
    }

    // Killed with the tunnel open: the next process finds both ledgers as they were.
    relay.0.kill().unwrap();
    relay.0.wait().unwrap();
    drop(app);
    let _relay = start();
    let status = wait_for("the relay again", || link.status(4433));
    let inherited = &status["inherited"]["udp"];
    assert_eq!(inherited["a"]["up"]["forwarded"]["bytes"], bytes, "{}", read_log());
    assert_eq!(inherited["b"]["up"]["payload_bytes"], bytes, "{}", read_log());
    assert_eq!(inherited["b"]["down"]["payload_bytes"], bytes, "{}", read_log());
}

/// The sidecar is told ledger C with the records that it is to be compared with, and after them.
#[test]
fn the_sidecar_hears_what_the_kernel_saw_come_from_clients() {
    let Some(link) = Link::new("s") else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = link.config(dir.path(), "one", 4433, "auto");
    let listener = UnixListener::bind(dir.path().join("settle.sock")).unwrap();
    let billed = format!(
        "[settle]\nsocket = \"{}\"\nexit_id = \"{EXIT}\"\nwindow = \"64 MiB\"\n\
         [[grant]]\nname = \"payer\"\ntoken_sha256 = \"{}\"\nchannel = \"{CHANNEL}\"\nlane = {LANE}\n",
        dir.path().join("settle.sock").display(),
        sha256_hex(PAYER),
    );
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &billed).unwrap();
    let log = dir.path().join("log");
    let _relay = Ends(spawn_by(inside(&link.relay, env!("CARGO_BIN_EXE_weir")), &file, &log));
    let mut chain = None;
    let mut sidecar = Sidecar::accept(&listener, &mut chain);
    let mut chain = chain.unwrap();
    sidecar.credit(0, 0);
    let status = wait_for("the relay", || link.status(4433));
    let _client = client(&link.peer, &status, PAYER);
    let app = within(&link.peer, || echoes(200, 700));

    let (mut billed, mut compared) = (0, 0);
    while compared < 200 * 700 {
        match sidecar.next() {
            Frame::Record(record) => {
                chain.accept(&record).unwrap();
                sidecar.send(&Frame::RecordAck { next_seq: chain.next_seq() });
                billed = record.up.forwarded.bytes;
            }
            Frame::Access(seen) => {
                assert!(seen.up.payload_bytes > billed, "{seen:?} for {billed}");
                assert!(seen.down.payload_bytes > 0, "{seen:?}");
                compared = billed;
            }
            other => panic!("{other:?}"),
        }
    }
    drop(app);
}

/// A client on this host comes in by the loopback interface, where nobody counts: to the relay that
/// looks like payload that never crossed a wire.
#[test]
fn bytes_that_no_interface_saw_raise_the_alarm() {
    let Some(link) = Link::new("c") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (link.config(dir.path(), "one", 4433, "auto"), dir.path().join("log"));
    let _relay = Ends(spawn_by(inside(&link.relay, env!("CARGO_BIN_EXE_weir")), &file, &log));
    let status = wait_for("the relay", || link.status(4433));
    assert_eq!(status["access"]["alarm"], false, "{status}");
    let _client = client(&link.relay, &status, TOKEN);
    let status = wait_for("the alarm", || {
        link.status(4433).filter(|status| status["access"]["alarm"] == true)
    });
    assert_eq!(status["access"]["c"]["up"]["bytes"], 0, "{status}");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("ALARM: the engines count more client-facing bytes"), "{said}");
}
