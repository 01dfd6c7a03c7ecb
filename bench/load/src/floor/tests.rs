use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::*;

#[test]
fn a_second_pass_restores_a_train_and_one_does_not() {
    let seal = Seal::new().unwrap();
    let plain: Vec<u8> = (0..5000u32).map(|n| n as u8).collect();
    let mut train = plain.clone();
    seal.train(&mut train, 1200);
    assert!(train.chunks(1200).zip(plain.chunks(1200)).all(|(sealed, plain)| sealed != plain));
    seal.train(&mut train, 1200);
    assert_eq!(train, plain);
}

fn args(target: SocketAddr, backend: FloorBackend) -> FloorArgs {
    let listen = "127.0.0.1:0".parse().unwrap();
    FloorArgs { listen, target, backend, singly: false, no_aead: false, spin_us: None }
}

/// The target sees sealed bytes, the client its own.
fn udp_echo(backend: FloorBackend, singly: bool) {
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    let args = FloorArgs { singly, ..args(target.local_addr().unwrap(), backend) };
    let waker = Waker::new().unwrap();
    let mut floor = udp::Forwarder::open(&args, &waker).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(floor.listen()).unwrap();
    let plain: Vec<u8> = (0..1200u32).map(|n| n as u8).collect();
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let driver = thread::spawn(move || {
        for socket in [&client, &target] {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        let mut buffer = [0; 2048];
        for size in [1200, 1200, 64, 1] {
            client.send(&plain[..size]).unwrap();
            let (got, from) = target.recv_from(&mut buffer).unwrap();
            assert!(got == size && buffer[..got] != plain[..size]);
            target.send_to(&buffer[..got], from).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), size);
            assert_eq!(buffer[..size], plain[..size]);
        }
        is_done.store(true, Ordering::Release);
        waker.wake();
    });
    while !done.load(Ordering::Acquire) {
        floor.turn().unwrap();
    }
    driver.join().unwrap();
}

#[test]
fn datagrams_are_sealed_on_the_way_and_come_back_whole() {
    udp_echo(FloorBackend::Poll, false);
    udp_echo(FloorBackend::Poll, true);
    if weir_io::probe().is_ok() {
        udp_echo(FloorBackend::Uring, false);
        udp_echo(FloorBackend::Uring, true);
    }
}

#[test]
fn a_tcp_stream_comes_through_unchanged_and_ends() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    tcp::spawn(listen, target.local_addr().unwrap(), true).unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
    let mut client = TcpStream::connect(listen).unwrap();
    let (mut from, _) = target.accept().unwrap();
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        from.read_to_end(&mut got).unwrap();
        from.write_all(b"all").unwrap();
        got
    });
    client.write_all(&sent).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(reader.join().unwrap() == sent);
    assert_eq!(answer, b"all");
}
