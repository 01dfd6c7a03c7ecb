//! The forwarder over loopback sockets.

use super::*;

fn open(to: &UdpSocket, loss: f64, delay_ms: u32) -> Wan {
    let listen = "127.0.0.1:0".parse().unwrap();
    let to = to.local_addr().unwrap();
    Wan::open(&WanArgs { listen, to, loss, delay_ms, seed: 3 }).unwrap()
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Turns until the counters say so.
fn turn_until(wan: &mut Wan, done: impl Fn(&Counters) -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !done(&wan.counters) {
        assert!(Instant::now() < limit, "{:?}", wan.counters);
        wan.turn(None).unwrap();
    }
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..length].to_vec(), from)
}

#[test]
fn answers_reach_the_client_that_asked_after_two_delays() {
    let target = bound();
    let mut wan = open(&target, 0.0, 15);
    let clients = [bound(), bound()];
    let start = Instant::now();
    for (client, text) in clients.iter().zip(["a", "b"]) {
        client.send_to(text.as_bytes(), wan.address().unwrap()).unwrap();
    }
    turn_until(&mut wan, |counters| counters.up.forwarded == 2);
    for _ in 0..2 {
        let (text, from) = receive(&target);
        target.send_to(&[&text[..], b"!"].concat(), from).unwrap();
    }
    turn_until(&mut wan, |counters| counters.down.forwarded == 2);
    assert!(start.elapsed() >= Duration::from_millis(30), "{:?}", start.elapsed());
    assert_eq!(receive(&clients[0]), (b"a!".to_vec(), wan.address().unwrap()));
    assert_eq!(receive(&clients[1]), (b"b!".to_vec(), wan.address().unwrap()));
}

#[test]
fn what_is_lost_is_counted_and_the_rest_keeps_its_order() {
    let (target, client) = (bound(), bound());
    let mut wan = open(&target, 0.5, 0);
    for number in 0..200_u8 {
        client.send_to(&[number], wan.address().unwrap()).unwrap();
    }
    turn_until(&mut wan, |counters| counters.up.forwarded + counters.up.lost == 200);
    let Counts { received, lost, dropped, forwarded } = wan.counters.up;
    assert_eq!((received, dropped), (200, 0));
    assert!((60..140).contains(&lost), "{lost} of 200 lost");
    let arrived: Vec<u8> = (0..forwarded).map(|_| receive(&target).0[0]).collect();
    assert!(arrived.is_sorted(), "{arrived:?}");
}

#[test]
fn a_part_beyond_one_and_mixed_families_are_refused() {
    let args = |to: &str, loss| WanArgs {
        listen: "127.0.0.1:0".parse().unwrap(),
        to: to.parse().unwrap(),
        loss,
        delay_ms: 0,
        seed: 1,
    };
    for (args, word) in
        [(args("127.0.0.1:9", 1.5), "between 0 and 1"), (args("[::1]:9", 0.1), "famil")]
    {
        let error = Wan::open(&args).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
