//! Issuance over HTTP: the real binary, a customer with a wallet to fill, and callers who want more
//! than they may have or send what nobody asked for.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_blind::{Binding, Epoch, Epochs, IssuerKey, base64url_decode, base64url_encode};
use weir_token::Pending;
use weir_token::serve::{DIRECTORY_PATH, REQUEST_PATH, customer_line};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that ends with its value, by `kill -9`.
struct Issuer {
    child: Child,
    at: String,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A status, the head, and the body.
type Answer = (u16, String, Vec<u8>);

impl Issuer {
    fn start(dir: &Path, listen: &str) -> Issuer {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-token"))
            .current_dir(dir)
            .args(["serve", "--key", "issuer.pem", "--ledger", "ledger"])
            .args(["--customers", "customers", "--listen", listen])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        Issuer { child, at }
    }

    fn address(&self) -> SocketAddr {
        self.at.strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn call(&self, request: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, request)
    }

    fn get(&self, path: &str) -> Answer {
        self.call(format!("GET {path} HTTP/1.1\r\nhost: i\r\n\r\n").as_bytes())
    }
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Answer {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

fn post(token: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {REQUEST_PATH} HTTP/1.1\r\nhost: i\r\ncontent-type: application/private-token-request\
         \r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn keygen(dir: &Path) -> IssuerKey {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-token"));
    let output = command.current_dir(dir).args(["keygen", "issuer.pem"]).output().unwrap();
    IssuerKey::from_base64url(String::from_utf8(output.stdout).unwrap().trim()).unwrap()
}

fn requests(key: &IssuerKey, count: usize) -> (Pending, Vec<Vec<u8>>) {
    let epochs = Epochs { length_s: 86_400, overlap_s: 0 };
    let issuer_name = "issuer.example".to_owned();
    let binding = Binding { issuer_name, exit: [0x5e; 32], epochs, epoch: Epoch(20_000) };
    let (pending, lines) = Pending::make(key, &binding, count).unwrap();
    (pending, lines.lines().map(|line| base64url_decode(line).unwrap()).collect())
}

fn issued(dir: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-token"));
    let words = ["issued", "--key", "issuer.pem", "--ledger", "ledger", "--bytes", "1"];
    let output = command.current_dir(dir).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_customer_gets_its_quota_and_no_more_whatever_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = keygen(dir);
    std::fs::write(dir.join("customers"), customer_line("alice", "a-token", 3).unwrap()).unwrap();
    let mut issuer = Issuer::start(dir, "127.0.0.1:0");

    let (status, head, body) = issuer.get(DIRECTORY_PATH);
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/private-token-issuer-directory"), "{head}");
    let directory: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(directory["issuer-request-uri"], REQUEST_PATH);
    assert_eq!(directory["token-keys"][0]["token-type"], 2);
    assert_eq!(directory["token-keys"][0]["token-key"], key.to_base64url());

    let (pending, requests) = requests(&key, 3);
    let mut responses = String::new();
    for (number, request) in requests.iter().enumerate() {
        if number == 2 {
            drop(issuer);
            issuer = Issuer::start(dir, "127.0.0.1:0");
        }
        let asked = Instant::now();
        let (status, head, body) = issuer.call(&post("a-token", request));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert!(head.contains("content-type: application/private-token-response"), "{head}");
        assert!(asked.elapsed() >= Duration::from_millis(100), "it left between two beats");
        responses.push_str(&base64url_encode(&body));
        responses.push('\n');
    }
    // What came is tokens: it verifies each.
    assert_eq!(pending.finalize(&responses).unwrap().len(), 3);
    drop(issuer);
    let issuer = Issuer::start(dir, "127.0.0.1:0");
    let (status, _, body) = issuer.call(&post("a-token", &requests[0]));
    let said = String::from_utf8(body).unwrap();
    assert_eq!((status, said.trim()), (403, "alice has had 3 of 3 tokens, and asks for 1 more"));
    // The command goes on working beside the server, and a raised quota counts at once.
    assert_eq!(issued(dir), "3 tokens, 3 bytes");
    std::fs::write(dir.join("customers"), customer_line("alice", "a-token", 4).unwrap()).unwrap();
    assert_eq!(issuer.call(&post("a-token", &requests[0])).0, 200);
    assert_eq!(issued(dir), "4 tokens, 4 bytes");
}

#[test]
fn what_is_no_request_of_a_customer_is_refused_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = keygen(dir);
    let customers = customer_line("alice", "a-token", 100).unwrap();
    std::fs::write(dir.join("customers"), &customers).unwrap();
    let issuer = Issuer::start(dir, "127.0.0.1:0");
    let (_, requests) = requests(&key, 1);
    let good = &requests[0];
    let changed = |at: usize, with: u8| {
        let mut request = good.clone();
        request[at] = with;
        request
    };
    let text = |request: &[u8]| String::from_utf8_lossy(request).into_owned();
    for (name, request, expected) in [
        ("a short body", post("a-token", &good[..258]), 422),
        ("another type", post("a-token", &changed(1, 1)), 422),
        ("another key", post("a-token", &changed(2, !good[2])), 422),
        ("a large message", post("a-token", &[&good[..3], &[0xff; 256]].concat()), 422),
        ("a long body", post("a-token", &[&good[..], &[0]].concat()), 413),
        ("nobody's token", post("b-token", good), 401),
        ("an empty token", post("", good), 401),
        (
            "another content type",
            text(&post("a-token", &[])).replace("request\r", "x\r").into(),
            415,
        ),
        ("no method", b"BREW /token-request HTTP/1.1\r\n\r\n".to_vec(), 405),
        ("no page", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 404),
        ("no HTTP", b"\x16\x03\x01\r\n\r\n".to_vec(), 400),
    ] {
        let (status, head, _) = issuer.call(&request);
        assert_eq!(status, expected, "{name}: {head}");
        assert_eq!(head.contains("www-authenticate: Bearer"), expected == 401, "{name}: {head}");
    }
    assert_eq!(issued(dir), "0 tokens, 0 bytes");
    // A file that was broken meanwhile stops issuance, in no detail for the customer.
    std::fs::write(dir.join("customers"), "alice\n").unwrap();
    let (status, _, body) = issuer.call(&post("a-token", good));
    assert_eq!((status, &body[..]), (503, &b"the issuer can't sign at the moment\n"[..]));
    std::fs::write(dir.join("customers"), &customers).unwrap();
    assert_eq!(issuer.call(&post("a-token", good)).0, 200);
}

#[test]
fn slow_callers_hold_up_nobody_and_a_dead_socket_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    keygen(dir);
    std::fs::write(dir.join("customers"), "").unwrap();
    let listen = format!("unix:{}", dir.join("issuer.sock").display());
    let issuer = Issuer::start(dir, &listen);
    assert_eq!(issuer.at, listen);
    drop(issuer);
    let _issuer = Issuer::start(dir, &listen);
    let connect = || {
        let stream = UnixStream::connect(dir.join("issuer.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let slow: Vec<UnixStream> = (0..63).map(|_| connect()).collect();
    let get = format!("GET {DIRECTORY_PATH} HTTP/1.1\r\n\r\n");
    assert_eq!(exchange(connect(), get.as_bytes()).0, 200);
    drop(slow);
    let mut second = Command::new(env!("CARGO_BIN_EXE_weir-token"));
    let options = ["serve", "--key", "issuer.pem", "--ledger", "l", "--customers", "customers"];
    let second =
        second.current_dir(dir).args(options).args(["--listen", &listen]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains("in use"), "{said}");
}
