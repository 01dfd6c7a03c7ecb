//! The built binary, driven by the project's own client: it sends a classic CONNECT without
//! `:scheme` and `:path`, and HTTP Datagrams with real Quarter Stream IDs.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use weir_client::{Client, ClientConfig, Trust};

const TOKEN: &str = "a-token-of-the-test";

/// A running relay; it ends when its standard input does.
struct Relay {
    child: Child,
    address: SocketAddr,
    pin: [u8; 32],
    _tokens: tempfile::NamedTempFile,
}

impl Relay {
    fn start(threads: &str) -> Relay {
        let mut tokens = tempfile::NamedTempFile::new().unwrap();
        writeln!(tokens, "{TOKEN}").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-plain"))
            .args(["--worker-threads", threads, "--token-file"])
            .arg(tokens.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["pid"], child.id());
        let pem = ready["certificate"].as_str().unwrap();
        let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &der);
        let address = ready["address"].as_str().unwrap().parse().unwrap();
        let pin = digest.as_ref().try_into().unwrap();
        Relay { child, address, pin, _tokens: tokens }
    }

    async fn client(&self, token: &str) -> Result<SocketAddr, weir_client::Error> {
        let mut config = ClientConfig::new(format!("https://{}", self.address).parse().unwrap());
        config.token = Some(token.parse().unwrap());
        config.trust = Trust::Pinned(self.pin);
        config.socks = Some("127.0.0.1:0".parse().unwrap());
        let client = Client::start(config).await?;
        let socks = client.socks_addr().unwrap();
        tokio::spawn(client.run(std::future::pending()));
        Ok(socks)
    }

    /// Waits for the end that the closed standard input asks for.
    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// ATYP, address and port.
fn address(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else { unreachable!("the test is on IPv4") };
    [&[1][..], &address.ip().octets(), &address.port().to_be_bytes()].concat()
}

/// Sends a SOCKS5 command with an address; the connection and the reply's port.
async fn socks(proxy: SocketAddr, command: u8, target: SocketAddr) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let mut bytes = vec![5, 1, 0, 5, command, 0];
    bytes.extend(address(target));
    stream.write_all(&bytes).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..4], [5, 0, 5, 0], "the relay refused");
    (stream, u16::from_be_bytes([answer[10], answer[11]]))
}

async fn tcp_echo_through(proxy: SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let (mut stream, _) = socks(proxy, 1, target).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 31 % 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let receive = async { reader.read_to_end(&mut received).await.unwrap() };
    tokio::join!(send, receive);
    assert!(received == sent, "{} of {} bytes came back right", received.len(), sent.len());
}

async fn udp_echo_through(proxy: SocketAddr) {
    let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = echo.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = echo.recv_from(&mut buffer).await.unwrap();
            echo.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    let (_control, port) = socks(proxy, 3, "0.0.0.0:0".parse().unwrap()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect((proxy.ip(), port)).await.unwrap();
    let head = [vec![0, 0, 0], address(target)].concat();
    for size in [0_usize, 1, 64, 1000] {
        let datagram = [head.clone(), vec![size as u8; size]].concat();
        let mut answer = [0; 2048];
        // UDP may lose one; a tunnel that loses ten in a row does not work.
        let mut tries = 0;
        let length = loop {
            socket.send(&datagram).await.unwrap();
            let wait = Duration::from_secs(1);
            match tokio::time::timeout(wait, socket.recv(&mut answer)).await {
                Ok(received) => break received.unwrap(),
                Err(_) => tries += 1,
            }
            assert!(tries < 10, "no answer to a payload of {size} bytes");
        };
        assert_eq!(answer[..length], datagram);
    }
}

#[tokio::test]
async fn one_thread_relays_tcp_and_several_udp_tunnels() {
    let relay = Relay::start("1");
    let proxy = relay.client(TOKEN).await.unwrap();
    tcp_echo_through(proxy).await;
    // The second tunnel's Quarter Stream ID differs from the first one's.
    tokio::join!(udp_echo_through(proxy), udp_echo_through(proxy));
    relay.stop();
}

#[tokio::test]
async fn two_threads_relay_as_well() {
    let relay = Relay::start("2");
    let proxy = relay.client(TOKEN).await.unwrap();
    tokio::join!(tcp_echo_through(proxy), udp_echo_through(proxy));
    relay.stop();
}

#[tokio::test]
async fn a_wrong_token_opens_nothing() {
    let relay = Relay::start("1");
    let proxy = relay.client("wrong").await.unwrap();
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 9]).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_ne!(answer[3], 0, "the tunnel was opened");
    relay.stop();
}
