//! Names are resolved by the relay, through the configured server, and failures keep their cause.

#[expect(dead_code, reason = "these tests need one tunnel")]
mod lab;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use lab::target::tcp_echo;
use lab::{PATIENCE, Relay, http};

/// A name server that knows `lab.test` (127.0.0.1, no IPv6) and no other name.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&answer(&query[..n]), from);
        }
    });
    address
}

/// RFC 1035 section 4: header, the question again, and one A record if there is one.
fn answer(query: &[u8]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let known = question[..name_end - 12].eq_ignore_ascii_case(b"\x03lab\x04test\x00");
    let wants_a = query[name_end..name_end + 2] == [0, 1];
    let (code, answers) = (if known { 0 } else { 3 }, u8::from(known && wants_a));
    let mut message = query[..2].to_vec();
    message.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    message.extend_from_slice(question);
    if answers == 1 {
        // A pointer to the name, type A, class IN, a TTL of 60 s, four bytes.
        message.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    message
}

/// SOCKS5 CONNECT to a name; the reply code and the connection.
fn connect_to_name(proxy: SocketAddr, name: &str, port: u16) -> (u8, TcpStream) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = vec![5, 1, 0, 5, 1, 0, 3, name.len() as u8];
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&message).unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply[..2]).unwrap();
    stream.read_exact(&mut reply).unwrap();
    let code = reply[1];
    if code == 0 {
        let mut bound = [0; 18];
        let len = if reply[3] == 1 { 6 } else { 18 };
        stream.read_exact(&mut bound[..len]).unwrap();
    }
    (code, stream)
}

#[test]
fn the_configured_server_is_asked() {
    let relay = Relay::start(1, &format!("[dns]\nservers = [\"{}\"]\n", name_server()));
    let client = relay.client(1);
    let port = tcp_echo("127.0.0.1").port();
    let (code, mut stream) = connect_to_name(client.socks, "lab.test", port);
    assert_eq!(code, 0, "{}", relay.log());
    stream.write_all(b"by name").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"by name");
    // RFC 1928 section 6: 4 is "host unreachable".
    assert_eq!(connect_to_name(client.socks, "nobody.test", port).0, 4);
    lab::wait_for("the failure to be counted", || {
        let (_, metrics) = http(relay.admin, "GET", "/metrics")?;
        metrics.contains("weir_resolves_failed_total{worker=\"0\"} 1\n").then_some(())
    });
}
