//! UDP echo: trains in, trains out.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, ensure};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

/// The most that one receive brings, with GRO.
const TRAIN_BYTES: usize = 65_535;
/// Rounds of receives on one socket before the others get their turn.
const ROUNDS: usize = 8;
/// Buffers that a socket asks for; the kernel's default holds three trains.
const SOCKET_BYTES: usize = 8 << 20;
/// Segments of a UDP_SEGMENT send (UDP_MAX_SEGMENTS before Linux 6.9), and its bytes over IPv4.
const SEGMENTS_MAX: usize = 64;
const SEND_BYTES: usize = 65_507;

/// Sockets on consecutive ports.
#[derive(Debug)]
pub(super) struct Echo {
    sockets: Vec<(UdpSocket, UdpSocketState)>,
    singly: bool,
    memory: Vec<u8>,
}

impl Echo {
    pub(super) fn bind(
        address: Option<SocketAddr>,
        ports: u16,
        singly: bool,
    ) -> anyhow::Result<Echo> {
        let mut sockets = Vec::new();
        if let Some(first) = address {
            ensure!(first.port() != 0 || ports == 1, "port 0 is for one port only");
            for offset in 0..ports {
                let port = first.port().checked_add(offset).context("ports end at 65535")?;
                sockets.push(open(SocketAddr::new(first.ip(), port))?);
            }
        }
        Ok(Echo { sockets, singly, memory: vec![0; TRAIN_BYTES * BATCH_SIZE] })
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.iter().map(|(socket, _)| socket)
    }

    /// The first address.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.sockets().next().and_then(|socket| socket.local_addr().ok())
    }

    /// Answers what has arrived on a socket.
    pub(super) fn serve(&mut self, number: usize) {
        let Echo { sockets, singly, memory } = self;
        let (socket, state) = &sockets[number];
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        for _ in 0..ROUNDS {
            let mut slices = memory.chunks_mut(TRAIN_BYTES).map(IoSliceMut::new);
            let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| slices.next().expect("memory for every buffer"));
            // Would block, or an ICMP error of an answer that nobody waited for.
            let Ok(count) = state.recv(socket.into(), &mut buffers, &mut meta) else { return };
            for (meta, train) in meta[..count].iter().zip(memory.chunks(TRAIN_BYTES)) {
                answer(socket, state, meta, &train[..meta.len], *singly);
            }
            if count < BATCH_SIZE {
                return;
            }
        }
    }
}

fn open(address: SocketAddr) -> anyhow::Result<(UdpSocket, UdpSocketState)> {
    let at = || format!("UDP on {address}");
    let socket = UdpSocket::bind(address).with_context(at)?;
    let state = UdpSocketState::new((&socket).into()).with_context(at)?;
    // As much as the host allows: a full buffer shows as loss.
    let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BYTES);
    let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BYTES);
    Ok((socket, state))
}

fn answer(socket: &UdpSocket, state: &UdpSocketState, meta: &RecvMeta, train: &[u8], singly: bool) {
    let stride = meta.stride.max(1);
    let most = if singly { 1 } else { SEGMENTS_MAX.min(SEND_BYTES / stride).max(1) };
    for part in train.chunks(stride * most) {
        let transmit = Transmit {
            destination: meta.addr,
            ecn: None,
            contents: part,
            segment_size: (part.len() > stride).then_some(stride),
            src_ip: meta.dst_ip,
        };
        // A full socket drops, like any full queue.
        let _ = state.try_send(socket.into(), &transmit);
    }
}
