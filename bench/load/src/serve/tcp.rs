//! TCP: gives, takes, or answers requests, as the first bytes of a connection say.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use slab::Slab;

use super::FILLING;
use crate::work::exchange::{Ask, HEADER_BYTES};

/// What is read or written at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces on one connection before the others get their turn.
const ROUNDS: usize = 4;

/// A listener and its connections.
#[derive(Debug)]
pub(super) struct Server {
    listener: TcpListener,
    connections: Slab<Connection>,
    /// The number of connection 0 in epoll.
    first: usize,
    filling: Vec<u8>,
    /// What is read, and thrown away.
    taken: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    header: Vec<u8>,
    state: State,
    writing: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The header is not complete.
    Asked,
    Giving,
    Taking,
    /// Bytes of the request that are still to come, and what is answered then.
    Reading {
        left: usize,
        response: usize,
    },
    /// Bytes of the answer that are still to be sent.
    Answering {
        left: usize,
    },
}

impl Server {
    pub(super) fn new(listener: TcpListener, first: usize) -> Server {
        Server {
            listener,
            connections: Slab::new(),
            first,
            filling: vec![FILLING; PIECE_BYTES],
            taken: vec![0; PIECE_BYTES],
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    pub(super) fn accept(&mut self, epoll: &OwnedFd) {
        while let Ok((stream, _)) = self.listener.accept() {
            let key = self.connections.vacant_key();
            let data = EventData::new_u64((self.first + key) as u64);
            if stream.set_nonblocking(true).is_err()
                || stream.set_nodelay(true).is_err()
                || epoll::add(epoll, &stream, data, EventFlags::IN).is_err()
            {
                // Its peer sees a closed connection.
                continue;
            }
            let header = Vec::with_capacity(HEADER_BYTES);
            self.connections.insert(Connection {
                stream,
                header,
                state: State::Asked,
                writing: false,
            });
        }
    }

    pub(super) fn serve(&mut self, number: usize, epoll: &OwnedFd) {
        let key = number - self.first;
        let Some(connection) = self.connections.get_mut(key) else { return };
        match connection.advance(&self.filling, &mut self.taken) {
            Ok(writing) => {
                if std::mem::replace(&mut connection.writing, writing) != writing {
                    let flags = if writing { EventFlags::OUT } else { EventFlags::IN };
                    let data = EventData::new_u64(number as u64);
                    let _ = epoll::modify(epoll, &connection.stream, data, flags);
                }
            }
            // Closing takes it out of epoll.
            Err(_) => drop(self.connections.remove(key)),
        }
    }
}

impl Connection {
    /// Reads or writes until the kernel has no more; says if it waits for room to write. An error
    /// is the end, in whatever way.
    fn advance(&mut self, filling: &[u8], taken: &mut [u8]) -> io::Result<bool> {
        for _ in 0..ROUNDS {
            let moved = match self.state {
                State::Asked => self.read_header(),
                State::Giving => self.stream.write(filling),
                State::Taking => read(&mut self.stream, taken),
                State::Reading { left, response } => {
                    let len = left.min(taken.len());
                    read(&mut self.stream, &mut taken[..len]).inspect(|read| {
                        self.state = match left - read {
                            0 => State::Answering { left: response },
                            left => State::Reading { left, response },
                        };
                    })
                }
                State::Answering { left: 0 } => Err(io::ErrorKind::UnexpectedEof.into()),
                State::Answering { left } => {
                    let len = left.min(filling.len());
                    self.stream.write(&filling[..len]).inspect(|written| {
                        self.state = State::Answering { left: left - written };
                    })
                }
            };
            match moved {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(matches!(self.state, State::Giving | State::Answering { .. }))
    }

    fn read_header(&mut self) -> io::Result<usize> {
        let mut bytes = [0; HEADER_BYTES];
        let missing = HEADER_BYTES - self.header.len();
        let read = read(&mut self.stream, &mut bytes[..missing])?;
        self.header.extend_from_slice(&bytes[..read]);
        if read == missing {
            let ask = Ask::read(&self.header).ok_or(io::ErrorKind::InvalidData)?;
            self.state = match ask {
                Ask::Download => State::Giving,
                Ask::Upload => State::Taking,
                Ask::Exchange { request, response } => {
                    let response = response as usize;
                    match (request as usize).saturating_sub(HEADER_BYTES) {
                        0 => State::Answering { left: response },
                        left => State::Reading { left, response },
                    }
                }
            };
        }
        Ok(read)
    }
}

/// A read for which the end is an error.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => Ok(read),
    }
}
