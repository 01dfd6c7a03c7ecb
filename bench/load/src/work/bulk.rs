//! TCP in bulk, one way.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use weir_io::Backend;

use super::Work;
use super::exchange::Ask;
use crate::serve::FILLING;
use crate::spec::Report;
use crate::way::{Happened, Kind, Sink, Tunnel, Way};

/// What is written at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces per stream and turn, so that what arrives is read in between.
const PIECES_MAX: usize = 4;

/// Streams that the target fills, or that fill the target.
#[derive(Debug)]
pub(crate) struct Bulk {
    target: SocketAddr,
    ask: Ask,
    streams: u32,
    tunnels: Vec<Tunnel>,
    opened: usize,
    failure: Option<String>,
    /// Streams with something to write and, as far as is known, room for it.
    writable: Vec<Tunnel>,
    header: Bytes,
    piece: Bytes,
    begun: Instant,
    bytes: u64,
    corrupt: u64,
}

impl Bulk {
    pub(crate) fn new(target: SocketAddr, streams: u32, ask: Ask) -> anyhow::Result<Bulk> {
        ensure!(streams > 0, "no streams");
        Ok(Bulk {
            target,
            ask,
            streams,
            tunnels: Vec::new(),
            opened: 0,
            failure: None,
            writable: Vec::new(),
            header: Bytes::copy_from_slice(&ask.write()),
            piece: Bytes::from(vec![FILLING; PIECE_BYTES]),
            begun: Instant::now(),
            bytes: 0,
            corrupt: 0,
        })
    }

    fn received(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        for part in data.chunks(PIECE_BYTES) {
            self.corrupt += u64::from(part != &self.piece[..part.len()]);
        }
    }
}

impl Sink for Bulk {
    fn happened(&mut self, _: Instant, what: Happened<'_>) {
        match what {
            Happened::Opened(_) => self.opened += 1,
            Happened::Data(_, data) => self.received(data),
            Happened::Writable(tunnel) => self.writable.push(tunnel),
            Happened::Failed(_, why) => drop(self.failure.get_or_insert(why)),
            Happened::Ended(_) => {
                self.failure.get_or_insert_with(|| "the target ended a stream".to_owned());
            }
            Happened::Datagram(..) => {}
        }
    }
}

impl Work for Bulk {
    fn open(&mut self, way: &mut Way, io: &mut Backend) {
        for number in 0..self.streams {
            let lane = number as usize % way.lanes();
            self.tunnels.push(way.open(Kind::Tcp, self.target, lane, io));
        }
    }

    fn is_ready(&self) -> bool {
        self.opened == self.tunnels.len()
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn start(&mut self, _: Instant, way: &mut Way, io: &mut Backend) {
        self.writable.clear();
        for &tunnel in &self.tunnels {
            if way.write(tunnel, &self.header, io) < self.header.len() {
                self.failure = Some("a new stream has no room for 12 bytes".to_owned());
            }
        }
        if self.ask == Ask::Upload {
            self.writable.clone_from(&self.tunnels);
        }
    }

    fn begin(&mut self, now: Instant) {
        self.begun = now;
        (self.bytes, self.corrupt) = (0, 0);
    }

    fn drive(&mut self, now: Instant, way: &mut Way, io: &mut Backend) -> Option<Instant> {
        if self.ask != Ask::Upload {
            return None;
        }
        let bytes = &mut self.bytes;
        self.writable.retain(|&tunnel| {
            for _ in 0..PIECES_MAX {
                let written = way.write(tunnel, &self.piece, io);
                *bytes += written as u64;
                if written < self.piece.len() {
                    return false;
                }
            }
            true
        });
        (!self.writable.is_empty()).then_some(now)
    }

    fn report(&self, now: Instant) -> Report {
        Report {
            units: self.bytes,
            seconds: now.saturating_duration_since(self.begun).as_secs_f64(),
            corrupt: self.corrupt,
            ..Report::default()
        }
    }
}
