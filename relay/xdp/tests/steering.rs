//! Real sockets of a reuseport group, steered by eBPF and by classic BPF: both must follow the
//! rule of `weir_abi::cid`.

mod common;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};

use socket2::{Domain, Protocol, Socket, Type};
use weir_xdp::cid::{Cid, CidKey, ClassicInsn, classic_program};
use weir_xdp::{OBJECT, Programs, Steer, SteeredBy};

const WORKERS: u32 = 4;
const SO_ATTACH_REUSEPORT_CBPF: libc::c_int = 51;
const SO_ATTACH_REUSEPORT_EBPF: libc::c_int = 52;

#[test]
fn classic_bpf_follows_the_rule() {
    let key = CidKey::from_bytes(*b"a key of 16 byte");
    let group = Group::new(WORKERS);
    let program = classic_program(&key, WORKERS);
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        // The kernel only reads it, and the layouts are the same.
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    assert_eq!(size_of::<ClassicInsn>(), size_of::<libc::sock_filter>());
    group.attach(SO_ATTACH_REUSEPORT_CBPF, &filter).expect("SO_ATTACH_REUSEPORT_CBPF");
    for datagram in datagrams(&key, 3) {
        let expected = key.worker(&datagram, WORKERS);
        assert_eq!(group.deliver(&datagram), expected, "{datagram:02x?}");
    }
}

#[test]
fn ebpf_follows_the_rule_and_counts() {
    if !common::privileged() {
        return;
    }
    let programs = Programs::load(OBJECT, 1).expect("load");
    let steering = programs.steering().expect("steering");
    let current = steer(1, 3, 0);
    let group = Group::new(WORKERS);
    group.steer_by(&steering, 0);
    steering.configure(&current, None).expect("configure");
    let mut sent = 0;
    for datagram in datagrams(&current.key, 3) {
        let expected = current.key.worker(&datagram, WORKERS);
        assert_eq!(group.deliver(&datagram), expected, "{datagram:02x?}");
        sent += 1;
    }
    let steered = programs.counters().steered().expect("steered");
    let total: u64 = steered.iter().map(|(_, count)| count).sum();
    assert_eq!(total, sent, "{steered:?}");
    let used = [SteeredBy::Current, SteeredBy::Hashed, SteeredBy::Short];
    for (by, count) in steered {
        assert_eq!(count > 0, used.contains(&by), "{by:?}: {count}");
    }
}

#[test]
fn two_generations_share_a_group() {
    if !common::privileged() {
        return;
    }
    let programs = Programs::load(OBJECT, 1).expect("load");
    let steering = programs.steering().expect("steering");
    let (draining, current) = (steer(1, 7, 0), steer(2, 8, WORKERS));
    let group = Group::new(2 * WORKERS);
    group.steer_by(&steering, 0);
    steering.configure(&current, Some(&draining)).expect("configure");
    for worker in 0..WORKERS as u8 {
        let old = short(&draining.key, 7, worker);
        assert_eq!(group.deliver(&old), u32::from(worker), "draining");
        let new = short(&current.key, 8, worker);
        assert_eq!(group.deliver(&new), WORKERS + u32::from(worker), "current");
    }
    let initial = [&[0xc0, 0, 0, 0, 1, 8][..], &[7; 30]].concat();
    assert!(group.deliver(&initial) >= WORKERS, "new connections go to the new generation");
}

#[test]
fn without_configuration_the_kernel_chooses() {
    if !common::privileged() {
        return;
    }
    let programs = Programs::load(OBJECT, 1).expect("load");
    let steering = programs.steering().expect("steering");
    let group = Group::new(WORKERS);
    group.steer_by(&steering, 0);
    assert!(group.deliver(b"anything at all") < WORKERS);
    let steered = programs.counters().steered().expect("steered");
    assert!(steered.contains(&(SteeredBy::Fallback, 1)), "{steered:?}");
    let error = steering.set_worker(512, group.sockets[0].as_fd()).expect_err("beyond");
    assert!(error.to_string().contains("worker slot 512"), "{error}");
}

fn steer(key: u8, generation: u32, base: u32) -> Steer {
    Steer { key: CidKey::from_bytes([key; 16]), generation, base, workers: WORKERS }
}

fn short(key: &CidKey, generation: u8, worker: u8) -> Vec<u8> {
    let nonce = 0x1234_5678 + u32::from(worker);
    [&[0x41][..], &key.encode(Cid { generation, worker, nonce }), b"payload"].concat()
}

/// Each kind of datagram that the rule distinguishes, several times.
fn datagrams(key: &CidKey, generation: u8) -> Vec<Vec<u8>> {
    let mut all = vec![vec![0x41], vec![0xc0; 5], vec![0x41; 8], vec![0xc0; 13]];
    for number in 0..32u8 {
        let ours = short(key, generation, number % WORKERS as u8);
        let mut long = vec![0xe0, 0, 0, 0, 1, 8];
        long.extend(&ours[1..]);
        let mut nine = long.clone();
        nine[5] = 9;
        let mut initial = vec![0xc0, 0, 0, 0, 1, 8];
        initial.extend((0..20).map(|i| number.wrapping_mul(37).wrapping_add(i * 11)));
        let foreign = vec![0x40 | number; 30];
        let absent = short(key, generation, 200 + number % 50);
        all.extend([ours, long, nine, initial, foreign, absent]);
    }
    all
}

struct Group {
    sockets: Vec<UdpSocket>,
}

impl Group {
    fn new(size: u32) -> Self {
        let mut sockets: Vec<UdpSocket> = Vec::new();
        for _ in 0..size {
            let socket =
                Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("socket");
            socket.set_reuse_port(true).expect("SO_REUSEPORT");
            let port = sockets.first().map_or(0, |s| s.local_addr().expect("address").port());
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("bind");
            socket.set_nonblocking(true).expect("nonblocking");
            sockets.push(socket.into());
        }
        Self { sockets }
    }

    fn steer_by(&self, steering: &weir_xdp::Steering, base: u32) {
        for (number, socket) in self.sockets.iter().enumerate() {
            steering.set_worker(base + number as u32, socket.as_fd()).expect("set_worker");
        }
        let program = steering.program_fd().as_raw_fd();
        self.attach(SO_ATTACH_REUSEPORT_EBPF, &program).expect("SO_ATTACH_REUSEPORT_EBPF");
    }

    fn attach<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the value is of the type that the option takes and outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.sockets[0].as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a datagram from a new port and tells which socket of the group got it. On loopback
    /// it is there when the send returns.
    fn deliver(&self, datagram: &[u8]) -> u32 {
        let client = UdpSocket::bind("127.0.0.1:0").expect("client");
        client.send_to(datagram, self.sockets[0].local_addr().expect("address")).expect("send");
        let mut buffer = [0; 2048];
        let mut receivers = (0u32..).zip(&self.sockets).filter_map(|(number, socket)| {
            let len = socket.recv(&mut buffer).ok()?;
            assert_eq!(&buffer[..len], datagram);
            Some(number)
        });
        let receiver = receivers.next().expect("delivered");
        assert_eq!(receivers.next(), None, "delivered twice");
        receiver
    }
}
