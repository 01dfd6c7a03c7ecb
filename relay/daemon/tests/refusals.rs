//! Bad input: one clear line, and the exit code that a supervisor can act on.

#[expect(dead_code, reason = "these tests start relays, and few tunnels")]
mod lab;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output};

use lab::{Relay, config, free_port};

fn weir(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a relay that is expected to refuse, and returns its exit code and words.
fn refused(text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relay.toml");
    fs::write(&file, text).unwrap();
    let output = weir(&["run", "-c", file.to_str().unwrap()]);
    (output.status.code(), said(&output))
}

#[test]
fn a_udp_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, said) = refused(&config(dir.path(), port, free_port(), 1, ""));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("in use"), "{said}");
}

#[test]
fn an_admin_port_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = taken.local_addr().unwrap().port();
    let (code, said) = refused(&config(dir.path(), free_port(), admin, 1, ""));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("relay.admin"), "{said}");
}

#[test]
fn two_relays_in_one_run_dir() {
    let relay = Relay::start(1, "");
    let (code, said) = refused(&config(relay.dir.path(), free_port(), free_port(), 1, ""));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("another relay"), "{said}");
}

#[test]
fn a_key_of_another_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let ((cert, _), (_, key)) = (make("a"), make("b"));
    let (cert_file, key_file) = (dir.path().join("a.crt"), dir.path().join("b.key"));
    fs::write(&cert_file, cert).unwrap();
    fs::write(&key_file, key).unwrap();
    let files = format!("cert = \"{}\"\nkey = \"{}\"", cert_file.display(), key_file.display());
    let text = config(dir.path(), free_port(), free_port(), 1, "")
        .replace("self_signed = true\nnames = [\"localhost\"]", &files);
    let (code, said) = refused(&text);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("doesn't belong to certificate"), "{said}");
    assert!(said.contains("relay.toml:11:7"), "{said}");
}

#[test]
fn a_secret_as_argument() {
    let output = weir(&["client", "--relay", "https://127.0.0.1:1", "--token", "hunter2"]);
    assert_eq!(output.status.code(), Some(78));
    let said = said(&output);
    assert!(said.contains("file:PATH") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_status_of_nobody() {
    let admin = format!("127.0.0.1:{}", free_port());
    let output = weir(&["status", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(69));
    assert!(said(&output).contains(&admin));
}

#[test]
fn status_and_drain_of_a_running_relay() {
    let mut relay = Relay::start(1, "");
    let admin = relay.admin.to_string();
    let text = weir(&["status", "--admin", &admin]);
    assert!(text.status.success());
    assert!(String::from_utf8_lossy(&text.stdout).contains("is running"));
    let json = weir(&["status", "--admin", &admin, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(status["state"], "running");
    assert!(weir(&["drain", "--admin", &admin]).status.success());
    assert_eq!(relay.wait_exit().code(), Some(0), "{}", relay.log());
}

#[test]
fn doctor_speaks_both_languages() {
    let json = weir(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let findings = findings.as_array().unwrap();
    for check in ["kernel", "io_uring", "privileges", "bpffs", "open files", "memlock"] {
        let found = findings.iter().find(|finding| finding["check"] == check);
        let found = found.unwrap_or_else(|| panic!("no line about {check}"));
        assert!(["ok", "warn", "fail"].contains(&found["verdict"].as_str().unwrap()));
        assert!(found["verdict"] == "ok" || found["advice"].is_string(), "{found}");
    }
    assert!(String::from_utf8_lossy(&weir(&["doctor"]).stdout).contains("kernel"));
}
