//! QUIC as the generator speaks it.

mod config;
mod steady;
mod tickets;
mod timers;
mod tls;

use std::time::Instant;

use quinn_proto::Connection;
use weir_core::port::{EgressId, EgressOp, Io};
use weir_io::Backend;

pub(crate) use config::{TRAIN_PACKETS, client, endpoint};
pub(crate) use tickets::Tickets;
pub(crate) use timers::Timers;
pub(crate) use tls::{Trust, client as tls_client};

/// What became of [`transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transmitted {
    Train,
    /// There is nothing to send.
    Nothing,
    /// All buffers are under way; try again in the next turn.
    NoBuffer,
}

/// Sends the next train of a connection, of at most `packets`, on its own socket.
pub(crate) fn transmit(
    quic: &mut Connection,
    socket: EgressId,
    now: Instant,
    packets: usize,
    io: &mut Backend,
) -> Transmitted {
    let Some(mut buffer) = io.take_buffer() else { return Transmitted::NoBuffer };
    let Some(transmit) = quic.poll_transmit(now, packets, &mut buffer) else {
        io.give_back(buffer);
        return Transmitted::Nothing;
    };
    let segment_size = transmit.segment_size.unwrap_or(buffer.len());
    let datagrams = buffer.len().div_ceil(segment_size) as u32;
    io.egress(EgressOp::UdpSend { id: socket, segment_size, datagrams }, buffer);
    Transmitted::Train
}
