//! One TCP connection under epoll.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;

use weir_core::port::{EgressError, EgressEvent, EgressId};

use super::READS_PER_SOCKET;
use super::epoll::{Epoll, Interest, Token};
use super::udp::Receiver;
use crate::config::IoStats;
use crate::egress::{Backlog, Flow};
use crate::errno::from_io;
use crate::message::errno;

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) flow: Flow,
    connected: bool,
    /// Bytes that may be read.
    credit: usize,
    backlog: Backlog,
    /// FIN is to be sent when the backlog is empty.
    fin: bool,
    fin_sent: bool,
    /// The target's FIN was reported.
    eof: bool,
    /// What epoll waits for now; `None` if the socket is not in the set.
    interest: Option<Interest>,
}

/// What came of an operation.
#[derive(Debug)]
pub(super) enum Progress {
    /// The kernel took so many bytes.
    Sent(usize),
    /// The connection is dead; an `errno`.
    Failed(i32),
}

impl Tcp {
    /// A connection whose handshake was started with [`start`].
    pub(super) fn new(flow: Flow) -> Tcp {
        Tcp {
            flow,
            connected: false,
            credit: 0,
            backlog: Backlog::default(),
            fin: false,
            fin_sent: false,
            eof: false,
            interest: Some(Interest::WRITE),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8], stats: &mut IoStats) -> Progress {
        if !self.connected || !self.backlog.is_empty() {
            self.backlog.push(bytes);
            return Progress::Sent(0);
        }
        match write(&self.flow, bytes) {
            Ok(sent) => {
                if sent < bytes.len() {
                    self.backlog.push(&bytes[sent..]);
                }
                stats.tcp_tx_bytes += sent as u64;
                Progress::Sent(sent)
            }
            Err(errno) => Progress::Failed(errno),
        }
    }

    pub(super) fn credit(&mut self, bytes: usize) -> Progress {
        self.credit += bytes;
        Progress::Sent(0)
    }

    pub(super) fn shutdown(&mut self) -> Progress {
        self.fin = true;
        self.send_fin();
        Progress::Sent(0)
    }

    /// Handles readiness. An error means that the connection is dead.
    pub(super) fn ready(
        &mut self,
        id: EgressId,
        receiver: &mut Receiver,
        stats: &mut IoStats,
        mut deliver: impl FnMut(EgressEvent<'_>),
    ) -> Result<(), EgressError> {
        if !self.connected {
            if let Some(error) = self.flow.socket().take_error().map_err(|e| from_io(&e))? {
                return Err(from_io(&error));
            }
            if self.flow.socket().peer_addr().is_err() {
                return Ok(());
            }
            self.connected = true;
            stats.egress_opened += 1;
            deliver(EgressEvent::Opened { id, local: self.flow.local() });
        }
        let sent = self.flush(stats)?;
        if sent > 0 {
            deliver(EgressEvent::TcpSent { id, bytes: sent });
        }
        self.receive(id, receiver, stats, deliver)
    }

    /// Waits for what is of use now. A hang-up is reported whether asked for or not, so a socket
    /// on which nothing is to be done leaves the set until there is.
    pub(super) fn update_interest(&mut self, epoll: &Epoll, id: EgressId) -> io::Result<()> {
        let wanted = Interest {
            read: self.connected && self.credit > 0 && !self.eof,
            write: !self.connected || !self.backlog.is_empty(),
        };
        let wanted = (wanted != Interest::default()).then_some(wanted);
        if wanted == self.interest {
            return Ok(());
        }
        let (fd, token) = (self.flow.as_fd(), Token::Egress(id));
        match (self.interest, wanted) {
            (None, Some(interest)) => epoll.add(fd, token, interest),
            (Some(_), Some(interest)) => epoll.change(fd, token, interest),
            (_, None) => epoll.remove(fd),
        }?;
        self.interest = wanted;
        Ok(())
    }

    fn receive(
        &mut self,
        id: EgressId,
        receiver: &mut Receiver,
        stats: &mut IoStats,
        mut deliver: impl FnMut(EgressEvent<'_>),
    ) -> Result<(), EgressError> {
        for _ in 0..READS_PER_SOCKET {
            if self.credit == 0 || self.eof {
                return Ok(());
            }
            let buffer = receiver.payload();
            let room = buffer.len().min(self.credit);
            match self.flow.socket().read(&mut buffer[..room]) {
                Ok(0) => {
                    self.eof = true;
                    deliver(EgressEvent::TcpEof { id });
                }
                Ok(got) => {
                    self.credit -= got;
                    stats.tcp_rx_bytes += got as u64;
                    deliver(EgressEvent::TcpReceived { id, data: &buffer[..got] });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(from_io(&error)),
            }
        }
        Ok(())
    }

    /// Sends what waits. Returns the bytes that the kernel took.
    fn flush(&mut self, stats: &mut IoStats) -> Result<usize, EgressError> {
        let mut total = 0;
        while !self.backlog.is_empty() {
            let next = self.backlog.next();
            let all = next.len();
            let sent = write(&self.flow, next).map_err(crate::errno::egress_error)?;
            self.backlog.advance(sent);
            stats.tcp_tx_bytes += sent as u64;
            total += sent;
            if sent < all {
                break;
            }
        }
        self.send_fin();
        Ok(total)
    }

    fn send_fin(&mut self) {
        if self.fin && !self.fin_sent && self.connected && self.backlog.is_empty() {
            self.fin_sent = true;
            // Fails only if the connection is gone, which the next read reports.
            let _ = self.flow.socket().shutdown(Shutdown::Write);
        }
    }
}

/// Sends the SYN. What becomes of it shows when the socket is ready to write.
pub(super) fn start(flow: &Flow) -> io::Result<()> {
    match flow.socket().connect(&flow.remote().into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(()),
    }
}

/// Bytes that the kernel took; 0 if it has no room.
fn write(flow: &Flow, bytes: &[u8]) -> Result<usize, i32> {
    match flow.socket().send_with_flags(bytes, libc::MSG_NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(error) => match error.raw_os_error().unwrap_or_else(errno) {
            libc::EAGAIN | libc::EINTR => Ok(0),
            errno => Err(errno),
        },
    }
}
