//! Every installed peer on loopback: what goes in at its client's SOCKS5 port comes out at a
//! target, and back.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use weir_bench::peers::{Kind, Peer, Place, Programs};
use weir_bench::run::sample::CpuTime;

const LIMIT: Duration = Duration::from_secs(10);
const TCP_BYTES: usize = 4 << 20;
const DATAGRAMS: u8 = 100;

#[test]
fn every_installed_peer_carries_tcp_and_udp() {
    let dir = option_env!("CARGO_TARGET_TMPDIR").map_or(PathBuf::new(), PathBuf::from);
    let Ok(programs) = Programs::find(&dir.join("../peers")) else {
        println!("SKIP: no peer is installed; `cargo xtask bench --with-peers` does it");
        return;
    };
    for kind in Kind::ALL {
        if programs.installed().contains(&kind) {
            carries(kind, &programs);
        } else {
            println!("SKIP: {} is not installed", kind.name());
        }
    }
}

fn carries(kind: Kind, programs: &Programs) {
    let dir = tempfile::tempdir().unwrap();
    let here = |program: &Path| Command::new(program);
    let server = Place { listen: free(), command: &here };
    let client = Place { listen: free(), command: &here };
    let mut peer = Peer::start(kind, programs, &server, &client, dir.path()).unwrap();
    assert!(!peer.version().is_empty());
    tcp(&peer);
    udp(&peer);
    assert!(CpuTime::of(peer.server_pid()).unwrap().since_ns(CpuTime::default()) > 0);
    assert!(peer.stop(), "{} did not end when asked to", kind.name());
    println!("{}: {} is fine", kind.name(), peer.version());
}

fn tcp(peer: &Peer) {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = target.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = target.accept().unwrap();
        let mut reader = stream.try_clone().unwrap();
        std::io::copy(&mut reader, &mut stream).unwrap();
    });
    let mut stream = command(peer.socks(), 1, address).0;
    let sent: Vec<u8> = (0..TCP_BYTES).map(|i| (i * 31 % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let send = {
        let sent = sent.clone();
        std::thread::spawn(move || writer.write_all(&sent).unwrap())
    };
    let mut received = vec![0; TCP_BYTES];
    stream.read_exact(&mut received).unwrap();
    assert!(received == sent, "{}: other bytes came back", peer.name());
    send.join().unwrap();
    drop(stream);
    echo.join().unwrap();
}

fn udp(peer: &Peer) {
    let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    target.set_read_timeout(Some(LIMIT)).unwrap();
    let address = target.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = target.recv_from(&mut buffer) {
            target.send_to(&buffer[..length], from).unwrap();
            if buffer[..length] == [DATAGRAMS - 1; 1000] {
                return;
            }
        }
    });
    let (_control, relay) = command(peer.socks(), 3, (Ipv4Addr::UNSPECIFIED, 0).into());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.connect(relay).unwrap();
    let mut buffer = [0; 2048];
    for number in 0..DATAGRAMS {
        let datagram = [&[0, 0, 0][..], &wire(address), &[number; 1000]].concat();
        socket.send(&datagram).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..length] == datagram, "{}: another datagram came back", peer.name());
    }
    echo.join().unwrap();
}

/// A SOCKS5 command; the connection, and the address of the reply.
fn command(proxy: SocketAddr, command: u8, target: SocketAddr) -> (TcpStream, SocketAddr) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).unwrap();
    assert_eq!(chosen, [5, 0]);
    stream.write_all(&[&[5, command, 0][..], &wire(target)].concat()).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    let [5, 0, 0, 1, a, b, c, d, high, low] = reply else { panic!("refused: {reply:?}") };
    let address = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into();
    (stream, address)
}

/// ATYP, address and port.
fn wire(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(v4) = address else { unreachable!("the test is on IPv4") };
    [&[1][..], &v4.ip().octets(), &v4.port().to_be_bytes()].concat()
}

/// An address that was free a moment ago, for TCP and UDP.
fn free() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
