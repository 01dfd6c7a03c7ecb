//! UDP to one target, directly or inside SOCKS5.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use anyhow::Result;
use serde::Serialize;
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UdpSocket};

use super::{Target, socks};

/// Larger than any window that is driven through it.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

const DATAGRAM_BYTES_MAX: usize = 65_536;

/// An ICMP error for an earlier datagram fails the next call, whatever that is, and once.
const SEND_ATTEMPTS: u32 = 3;

/// A connected UDP socket that hides the proxy's header, and counts payload.
#[derive(Debug)]
pub struct UdpPath {
    socket: UdpSocket,
    /// Goes before every payload; empty for a direct path.
    header: Vec<u8>,
    /// Ends the association when closed.
    _control: Option<TcpStream>,
    sent_datagrams: AtomicU64,
    sent_bytes: AtomicU64,
    received_datagrams: AtomicU64,
    received_bytes: AtomicU64,
}

/// Payload that the application sent and received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UdpCounts {
    pub datagrams_up: u64,
    pub bytes_up: u64,
    pub datagrams_down: u64,
    pub bytes_down: u64,
}

impl UdpPath {
    pub(super) async fn direct(target: SocketAddr) -> Result<UdpPath> {
        UdpPath::new(target, Vec::new(), None).await
    }

    pub(super) async fn through_socks(proxy: SocketAddr, target: &Target) -> Result<UdpPath> {
        let (control, relay) = socks::associate(proxy).await?;
        let mut header = vec![0; 3];
        socks::push_address(&mut header, target);
        UdpPath::new(relay, header, Some(control)).await
    }

    async fn new(to: SocketAddr, header: Vec<u8>, control: Option<TcpStream>) -> Result<UdpPath> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.connect(to).await?;
        Ok(UdpPath {
            socket,
            header,
            _control: control,
            sent_datagrams: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_datagrams: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        })
    }

    /// Sends one datagram.
    pub async fn send(&self, payload: &[u8]) -> io::Result<()> {
        loop {
            match self.try_send(payload) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                other => return other,
            }
        }
    }

    /// Sends one datagram if the socket takes it now.
    pub fn try_send(&self, payload: &[u8]) -> io::Result<()> {
        let mut datagram = Vec::new();
        let datagram = if self.header.is_empty() {
            payload
        } else {
            datagram.reserve_exact(self.header.len() + payload.len());
            datagram.extend_from_slice(&self.header);
            datagram.extend_from_slice(payload);
            &datagram[..]
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.socket.try_send(datagram) {
                Ok(_) => break,
                Err(error) if is_refusal(&error) && attempts < SEND_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        self.sent_datagrams.fetch_add(1, Relaxed);
        self.sent_bytes.fetch_add(payload.len() as u64, Relaxed);
        Ok(())
    }

    /// Receives one datagram.
    pub async fn receive(&self, payload: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_receive(cx, payload)).await
    }

    /// Receives one datagram, or arranges for a wake-up.
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        payload: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut space = [0; DATAGRAM_BYTES_MAX];
        loop {
            let mut datagram = ReadBuf::new(&mut space);
            match ready!(self.socket.poll_recv(cx, &mut datagram)) {
                Err(error) if is_refusal(&error) => continue,
                result => result?,
            }
            let datagram = datagram.filled();
            let start =
                if self.header.is_empty() { Some(0) } else { socks::payload_start(datagram) };
            // What has no proxy header is not from the proxy.
            let Some(start) = start else { continue };
            let received = &datagram[start..];
            let length = received.len().min(payload.len());
            payload[..length].copy_from_slice(&received[..length]);
            self.received_datagrams.fetch_add(1, Relaxed);
            self.received_bytes.fetch_add(received.len() as u64, Relaxed);
            return Poll::Ready(Ok(length));
        }
    }

    /// Completes when sending may succeed.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// The local address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What went through so far.
    pub fn counts(&self) -> UdpCounts {
        UdpCounts {
            datagrams_up: self.sent_datagrams.load(Relaxed),
            bytes_up: self.sent_bytes.load(Relaxed),
            datagrams_down: self.received_datagrams.load(Relaxed),
            bytes_down: self.received_bytes.load(Relaxed),
        }
    }
}

/// Nobody listens at the other end. To an application over UDP that is a lost datagram.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}
