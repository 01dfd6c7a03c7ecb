//! Client-facing sockets: one SO_REUSEPORT group per address, one member per worker.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::Error;
use crate::sys;

/// How client-facing sockets are set up.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Bytes of receive buffer to ask for. The default of most hosts (208 KiB) is the usual
    /// silent loss.
    pub receive_buffer_bytes: usize,
    /// Bytes of send buffer to ask for. A full buffer is a drop-tail queue in front of the NIC.
    pub send_buffer_bytes: usize,
    /// Refuses to join a group that another process of the same user already has on the address.
    /// Joining would renumber its workers; only a planned takeover wants it.
    pub exclusive: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            receive_buffer_bytes: 16 << 20,
            send_buffer_bytes: 8 << 20,
            exclusive: true,
        }
    }
}

/// One client-facing UDP socket, ready to use.
#[derive(Debug)]
pub struct ClientSocket {
    socket: Socket,
    local: SocketAddr,
    receive_buffer_bytes: usize,
    send_buffer_bytes: usize,
}

impl ClientSocket {
    /// The address that it is bound to, with the real port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The receive buffer that the kernel gave; less than what was asked for when the process
    /// lacks CAP_NET_ADMIN and `net.core.rmem_max` is smaller.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// The send buffer that the kernel gave (`net.core.wmem_max`).
    pub fn send_buffer_bytes(&self) -> usize {
        self.send_buffer_bytes
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ClientSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The client-facing sockets of one worker: at most one per address family.
#[derive(Debug, Default)]
pub struct WorkerSockets {
    pub v4: Option<ClientSocket>,
    pub v6: Option<ClientSocket>,
}

impl WorkerSockets {
    /// The sockets that there are.
    pub fn iter(&self) -> impl Iterator<Item = &ClientSocket> {
        self.v4.iter().chain(&self.v6)
    }
}

/// Binds `workers` sockets to each address, at most one IPv4 and one IPv6 address. Entry `n` of
/// the answer belongs to worker `n`, and its sockets are member `n` of their groups, because the
/// kernel numbers the members in the order in which they are bound. Port 0 lets the kernel choose,
/// the same for all workers.
pub fn bind_workers(
    addresses: &[SocketAddr],
    workers: usize,
    options: &ClientOptions,
) -> Result<Vec<WorkerSockets>, Error> {
    let mut result: Vec<WorkerSockets> = Vec::new();
    result.resize_with(workers, WorkerSockets::default);
    for &address in addresses {
        let group = bind_group(address, workers, options)?;
        for (worker, socket) in result.iter_mut().zip(group) {
            let place = if address.is_ipv4() { &mut worker.v4 } else { &mut worker.v6 };
            if place.replace(socket).is_some() {
                let problem = "a second address of the same family; use a wildcard address";
                return Err(Error::ListenAddress { address, problem });
            }
        }
    }
    Ok(result)
}

fn bind_group(
    mut address: SocketAddr,
    workers: usize,
    options: &ClientOptions,
) -> Result<Vec<ClientSocket>, Error> {
    if options.exclusive && address.port() != 0 {
        refuse_company(address)?;
    }
    let mut group = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = bind_one(address, options)?;
        address = socket.local;
        group.push(socket);
    }
    Ok(group)
}

/// Binds once without SO_REUSEPORT: that fails if anybody, even a group of the same user, is there.
fn refuse_company(address: SocketAddr) -> Result<(), Error> {
    let probe = new_socket(address).map_err(|e| listen_error(address, "socket", e))?;
    probe.bind(&address.into()).map_err(|e| listen_error(address, "bind", e))
}

fn bind_one(address: SocketAddr, options: &ClientOptions) -> Result<ClientSocket, Error> {
    let at = |step: &'static str| move |source| listen_error(address, step, source);
    let socket = new_socket(address).map_err(at("socket"))?;
    socket.set_reuse_port(true).map_err(at("SO_REUSEPORT"))?;
    receive_metadata(&socket, address.is_ipv4()).map_err(at("packet metadata options"))?;
    probe_path_mtu(&socket, address.is_ipv4()).map_err(at("path MTU options"))?;
    sys::set_int(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).map_err(at("UDP_GRO"))?;
    let receive_buffer_bytes =
        grow(&socket, Direction::Receive, options.receive_buffer_bytes).map_err(at("SO_RCVBUF"))?;
    let send_buffer_bytes =
        grow(&socket, Direction::Send, options.send_buffer_bytes).map_err(at("SO_SNDBUF"))?;
    socket.bind(&address.into()).map_err(at("bind"))?;
    let local = socket.local_addr().map_err(at("getsockname"))?;
    let local = as_inet(&local).map_err(at("getsockname"))?;
    Ok(ClientSocket { socket, local, receive_buffer_bytes, send_buffer_bytes })
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // The IPv4 half has its own socket, so that addresses never arrive v4-mapped.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// The address that the client sent to, the ECN bits, and the count of packets that overflowed.
fn receive_metadata(socket: &Socket, v4: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    if v4 {
        sys::set_int(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        socket.set_recv_tos_v4(true)?;
    } else {
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        socket.set_recv_tclass_v6(true)?;
    }
    sys::set_int(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// DF is set and the kernel's idea of the path MTU is ignored: QUIC probes the path itself
/// (RFC 9000, section 14), and a forged ICMP must not shrink it.
fn probe_path_mtu(socket: &Socket, v4: bool) -> io::Result<()> {
    if v4 {
        let mode = libc::IP_PMTUDISC_PROBE;
        sys::set_int(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)
    } else {
        let mode = libc::IPV6_PMTUDISC_PROBE;
        sys::set_int(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode)
    }
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    Receive,
    Send,
}

/// Asks for a socket buffer beyond the system's maximum, which needs CAP_NET_ADMIN, then within
/// it. Returns the bytes that the kernel gave, without its doubling for bookkeeping.
pub(super) fn grow(socket: &Socket, direction: Direction, wanted: usize) -> io::Result<usize> {
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX / 2).min(i32::MAX / 2);
    let (force, plain) = match direction {
        Direction::Receive => (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        Direction::Send => (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    };
    let fd = socket.as_fd();
    if sys::set_int(fd, libc::SOL_SOCKET, force, wanted).is_err() {
        sys::set_int(fd, libc::SOL_SOCKET, plain, wanted)?;
    }
    Ok(sys::get_int(fd, libc::SOL_SOCKET, plain)? as usize / 2)
}

/// The IP address in a socket address; the kernel gives no other kind for these sockets.
pub(super) fn as_inet(address: &SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::other("not an IP address"))
}

fn listen_error(address: SocketAddr, step: &'static str, source: io::Error) -> Error {
    if source.raw_os_error() == Some(libc::EADDRINUSE) {
        Error::AddressInUse { address }
    } else {
        Error::Listen { address, step, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_group_shares_one_port_and_both_families_are_kept_apart() {
        let workers =
            bind_workers(&[any("127.0.0.1:0"), any("[::1]:0")], 3, &ClientOptions::default())
                .unwrap();
        assert_eq!(workers.len(), 3);
        for v4 in [true, false] {
            let port = |w: &WorkerSockets| {
                let socket = if v4 { w.v4.as_ref() } else { w.v6.as_ref() };
                socket.unwrap().local().port()
            };
            let ports: Vec<u16> = workers.iter().map(port).collect();
            assert!(ports[0] != 0 && ports.iter().all(|p| *p == ports[0]), "{ports:?}");
        }
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = bind_workers(&[any("127.0.0.1:0")], 1, &ClientOptions::default()).unwrap();
        let taken = first[0].v4.as_ref().unwrap().local();
        let error = bind_workers(&[taken], 1, &ClientOptions::default()).unwrap_err();
        assert!(matches!(error, Error::AddressInUse { address } if address == taken));
        assert!(error.to_string().contains(&taken.to_string()));
    }

    #[test]
    fn a_takeover_may_join_the_group() {
        let first = bind_workers(&[any("127.0.0.1:0")], 1, &ClientOptions::default()).unwrap();
        let taken = first[0].v4.as_ref().unwrap().local();
        let joining = ClientOptions { exclusive: false, ..ClientOptions::default() };
        assert!(bind_workers(&[taken], 1, &joining).is_ok());
    }

    #[test]
    fn two_addresses_of_one_family_are_refused() {
        let addresses = [any("127.0.0.1:0"), any("127.0.0.2:0")];
        let error = bind_workers(&addresses, 1, &ClientOptions::default()).unwrap_err();
        assert!(matches!(error, Error::ListenAddress { address, .. } if address == addresses[1]));
    }

    #[test]
    fn an_address_of_another_host_is_refused_with_the_step() {
        let error =
            bind_workers(&[any("192.0.2.1:4433")], 1, &ClientOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Listen { step: "bind", .. }), "{error}");
    }

    #[test]
    fn the_receive_buffer_that_was_given_is_reported() {
        let small = ClientOptions { receive_buffer_bytes: 100_000, ..ClientOptions::default() };
        let workers = bind_workers(&[any("127.0.0.1:0")], 1, &small).unwrap();
        assert_eq!(workers[0].v4.as_ref().unwrap().receive_buffer_bytes(), 100_000);
    }
}
