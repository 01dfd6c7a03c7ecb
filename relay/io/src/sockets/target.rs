//! Target-facing sockets. Each knows its local address and port before its first packet, so that
//! the flow can be entered into the kernel's flow table first.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::client::{Direction, as_inet, grow};
use crate::sys;

/// Opens a UDP socket that is connected to `target`; no packet is sent.
pub(crate) fn open_udp(
    target: SocketAddr,
    source: Option<IpAddr>,
    buffer_bytes: usize,
) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    never_fragment(&socket, target.is_ipv4())?;
    sys::set_int(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)?;
    grow(&socket, Direction::Send, buffer_bytes)?;
    grow(&socket, Direction::Receive, buffer_bytes)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&target.into())?;
    // Between the choice of the port and the connect, anybody could have sent to the port. From
    // here on the kernel only lets the target through.
    let mut stray = [MaybeUninit::uninit(); 1];
    while socket.recv(&mut stray).is_ok() {}
    let local = as_inet(&socket.local_addr()?)?;
    Ok((socket, local))
}

/// Opens a TCP socket that is bound and not yet connected.
///
/// The port is chosen here and not in connect (IP_BIND_ADDRESS_NO_PORT), because the flow must be
/// known before the SYN leaves. The price is that the local port alone must be unique among the
/// connections of an address, about 28,000 with the default `ip_local_port_range`.
pub(crate) fn open_tcp(
    target: SocketAddr,
    source: Option<IpAddr>,
    routes: &mut RouteFinder,
) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Ports in TIME-WAIT may be bound again; otherwise 470 connections a second would use them up.
    socket.set_reuse_address(true)?;
    let source = match source {
        Some(source) => SocketAddr::new(source, 0),
        None => routes.source_for(target)?,
    };
    socket.bind(&source.into())?;
    let local = as_inet(&socket.local_addr()?)?;
    Ok((socket, local))
}

/// Makes the coming close send RST.
pub(crate) fn reset_on_close(socket: BorrowedFd<'_>) {
    // Fails only on a descriptor that isn't a socket; then close is all there is.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}

/// DF is set and the kernel keeps to the path MTU that it knows: a larger datagram fails with
/// EMSGSIZE, it is never fragmented (RFC 9298, section 6.1).
fn never_fragment(socket: &Socket, v4: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    if v4 {
        sys::set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    } else {
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)?;
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
    }
}

/// Asks the routing table which local address leads to a target, by connecting a UDP socket that
/// never sends.
#[derive(Debug, Default)]
pub(crate) struct RouteFinder {
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl RouteFinder {
    /// The local address towards `target`, port 0.
    fn source_for(&mut self, target: SocketAddr) -> io::Result<SocketAddr> {
        let place = if target.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let socket = match place {
            Some(socket) => {
                disconnect(socket)?;
                socket
            }
            None => place.insert(Socket::new(Domain::for_address(target), Type::DGRAM, None)?),
        };
        // The port doesn't matter to the route, and 0 is refused by some kernels.
        let mut somewhere = target;
        somewhere.set_port(target.port().max(1));
        socket.connect(&somewhere.into())?;
        let mut source = as_inet(&socket.local_addr()?)?;
        source.set_port(0);
        Ok(source)
    }
}

/// Forgets the peer and the source address that came with it (connect to AF_UNSPEC).
fn disconnect(socket: &Socket) -> io::Result<()> {
    // SAFETY: all zero is a valid address of family AF_UNSPEC.
    let nowhere: libc::sockaddr = unsafe { std::mem::zeroed() };
    let len = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: `nowhere` is readable for `len` bytes. socket2 can't express AF_UNSPEC.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_of_each_target_is_its_own() {
        let mut routes = RouteFinder::default();
        for (target, source) in [
            ("127.0.0.1:80", "127.0.0.1:0"),
            ("[::1]:80", "[::1]:0"),
            ("127.0.0.9:80", "127.0.0.1:0"),
        ] {
            let found = routes.source_for(target.parse().unwrap()).unwrap();
            assert_eq!(found, source.parse().unwrap());
        }
    }

    #[test]
    fn a_tcp_socket_has_its_address_and_port_before_it_connects() {
        let mut routes = RouteFinder::default();
        let target = "127.0.0.1:9".parse().unwrap();
        let (_socket, local) = open_tcp(target, None, &mut routes).unwrap();
        assert!(local.ip().is_loopback() && local.port() != 0);
    }

    #[test]
    fn a_udp_socket_knows_its_5_tuple() {
        let source = "127.0.0.5".parse().unwrap();
        let target = "127.0.0.1:9".parse().unwrap();
        let (socket, local) = open_udp(target, Some(source), 1 << 16).unwrap();
        assert_eq!(local.ip(), source);
        assert_eq!(socket.peer_addr().unwrap().as_socket().unwrap().port(), 9);
    }

    #[test]
    fn a_source_of_the_other_family_is_refused() {
        let source = Some("::1".parse().unwrap());
        assert!(open_udp("127.0.0.1:9".parse().unwrap(), source, 1 << 16).is_err());
    }
}
