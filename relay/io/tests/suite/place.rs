//! Where the two ends of a test stand: both on loopback, or, for AF_XDP, in the two network
//! namespaces of a [`Lab`], a veth pair apart.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};
use weir_core::port::FlowHook;
use weir_io::{
    Backend, BackendKind, ClientOptions, Error, IoConfig, Waker, WorkerSockets, bind_workers,
};

use super::HookLog;
use super::lab::{self, Lab};

thread_local! {
    static OVER_VETH: Cell<bool> = const { Cell::new(false) };
}

/// Lets the two ends of any backend stand as those of AF_XDP do.
pub(crate) fn over_veth<T>(act: impl FnOnce() -> T) -> T {
    OVER_VETH.set(true);
    let result = act();
    OVER_VETH.set(false);
    result
}

fn is_over_veth(kind: BackendKind) -> bool {
    kind == BackendKind::Xsk || OVER_VETH.get()
}

/// Addresses for client-facing sockets: IPv4 and IPv6, the kernel chooses the port.
pub(crate) fn listen(kind: BackendKind) -> [SocketAddr; 2] {
    let ips: [IpAddr; 2] = match is_over_veth(kind) {
        true => [lab::NEAR_V4.into(), lab::NEAR_V6.into()],
        false => ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
    };
    ips.map(|ip| SocketAddr::new(ip, 0))
}

/// Another IPv4 address of the host that the backend runs on.
pub(crate) fn second_ip(kind: BackendKind) -> IpAddr {
    match is_over_veth(kind) {
        true => lab::SECOND_V4.into(),
        false => "127.0.0.77".parse().unwrap(),
    }
}

/// A UDP socket at the other end, IPv4.
pub(crate) fn udp(kind: BackendKind) -> UdpSocket {
    udp_family(kind, 0)
}

/// The same with IPv4 (0) or IPv6 (1).
pub(crate) fn udp_family(kind: BackendKind, family: usize) -> UdpSocket {
    udp_at(kind, SocketAddr::new(far_ip(kind, family), 0))
}

pub(crate) fn udp_at(kind: BackendKind, address: SocketAddr) -> UdpSocket {
    far(kind, || UdpSocket::bind(address).unwrap())
}

/// A listener at the other end.
pub(crate) fn tcp(kind: BackendKind) -> TcpListener {
    tcp_with_backlog(kind, 128).into()
}

pub(crate) fn tcp_with_backlog(kind: BackendKind, backlog: i32) -> Socket {
    far(kind, || {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::new(far_ip(kind, 0), 0).into()).unwrap();
        listener.listen(backlog).unwrap();
        listener
    })
}

/// Opens a backend where the test stands.
pub(crate) fn open(
    kind: BackendKind,
    config: &IoConfig,
    sockets: WorkerSockets,
    waker: &Waker,
    hook: Box<dyn FlowHook>,
) -> Result<Backend, Error> {
    match kind {
        BackendKind::Xsk => {
            let xsk = Lab::with(|lab| lab.config(waker));
            Backend::open_xsk(config, xsk, sockets, waker, hook)
        }
        _ => Backend::open(kind, config, sockets, waker, hook),
    }
}

/// A backend at the other end, and where it listens; there sockets are used for AF_XDP's sake.
pub(crate) fn far_backend(kind: BackendKind) -> (Backend, [SocketAddr; 2]) {
    let addresses = [0, 1].map(|family| SocketAddr::new(far_ip(kind, family), 0));
    far(kind, || {
        let mut workers = bind_workers(&addresses, 1, &ClientOptions::default()).unwrap();
        let sockets = workers.remove(0);
        let listen = [&sockets.v4, &sockets.v6].map(|socket| socket.as_ref().unwrap().local());
        let (waker, hook) = (Waker::new().unwrap(), Box::new(HookLog::default()));
        let kind = if kind == BackendKind::Xsk { BackendKind::Uring } else { kind };
        let far = Backend::open(kind, &IoConfig::default(), sockets, &waker, hook).unwrap();
        (far, listen)
    })
}

fn far_ip(kind: BackendKind, family: usize) -> IpAddr {
    match (is_over_veth(kind), family) {
        (true, 0) => lab::FAR_V4.into(),
        (true, _) => lab::FAR_V6.into(),
        (false, 0) => "127.0.0.1".parse().unwrap(),
        (false, _) => "::1".parse().unwrap(),
    }
}

fn far<T>(kind: BackendKind, make: impl FnOnce() -> T) -> T {
    match is_over_veth(kind) {
        true => Lab::with(|lab| lab.far(make)),
        false => make(),
    }
}
