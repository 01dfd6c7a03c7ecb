//! Receiving UDP trains with `recvmsg`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::{mem, ptr};

use weir_core::port::{EgressEvent, EgressId, MAX_TRAIN_BYTES, PacketMeta};

use super::READS_PER_SOCKET;
use crate::addr::{self, ADDRESS_BYTES};
use crate::cmsg::{self, RECEIVE_BYTES};
use crate::config::{IoStats, TURN_BYTES};
use crate::egress::Flow;
use crate::errno::egress_error;
use crate::message::errno;
use crate::send::Outcome;
use crate::sockets::ClientSocket;

/// Trains that a client-facing socket gives in one turn; more than for a target, because all
/// clients share the socket.
const TRAINS_PER_LEG: usize = 64;

/// Where everything is received; the engine copies what it keeps.
#[derive(Debug)]
pub(super) struct Receiver {
    payload: Box<[u8]>,
    control: Aligned<RECEIVE_BYTES>,
    name: Aligned<ADDRESS_BYTES>,
}

#[derive(Debug)]
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);

/// One received message.
struct Received<'a> {
    name: &'a [u8],
    control: &'a [u8],
    payload: &'a [u8],
    truncated: bool,
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        Receiver {
            payload: vec![0; MAX_TRAIN_BYTES + 1].into_boxed_slice(),
            control: Aligned([0; RECEIVE_BYTES]),
            name: Aligned([0; ADDRESS_BYTES]),
        }
    }

    /// The buffer for plain reads.
    pub(super) fn payload(&mut self) -> &mut [u8] {
        &mut self.payload
    }

    fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<Received<'_>, i32> {
        let mut payload =
            libc::iovec { iov_base: self.payload.as_mut_ptr().cast(), iov_len: self.payload.len() };
        // SAFETY: all zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut payload;
        header.msg_iovlen = 1;
        header.msg_name = ptr::from_mut(&mut self.name).cast();
        header.msg_namelen = ADDRESS_BYTES as u32;
        header.msg_control = ptr::from_mut(&mut self.control).cast();
        header.msg_controllen = RECEIVE_BYTES as _;
        // SAFETY: all pointers are to buffers of the stated sizes that live until the call
        // returns. socket2's MsgHdrMut reports neither the control length nor reuses buffers.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
        let got = usize::try_from(got).map_err(|_| errno())?;
        Ok(Received {
            name: &self.name.0[..(header.msg_namelen as usize).min(ADDRESS_BYTES)],
            control: &self.control.0[..(header.msg_controllen as usize).min(RECEIVE_BYTES)],
            payload: &self.payload[..got.min(self.payload.len())],
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        })
    }
}

/// A client-facing socket.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) socket: ClientSocket,
    pub(super) offload: bool,
    overflow: u32,
}

impl Leg {
    pub(super) fn new(socket: ClientSocket) -> Leg {
        Leg { socket, offload: true, overflow: 0 }
    }

    pub(super) fn receive(
        &mut self,
        receiver: &mut Receiver,
        stats: &mut IoStats,
        mut deliver: impl FnMut(&PacketMeta, &[u8]),
    ) {
        let mut bytes = 0;
        for _ in 0..TRAINS_PER_LEG {
            if bytes >= TURN_BYTES {
                return;
            }
            // An error here is either "nothing more" or of no consequence to the next train.
            let Ok(received) = receiver.receive(self.socket.as_fd()) else { return };
            let control = cmsg::parse(received.control);
            if let Some(overflow) = control.overflow {
                stats.rx_overflow += u64::from(overflow.wrapping_sub(self.overflow));
                self.overflow = overflow;
            }
            if received.truncated {
                stats.rx_truncated += 1;
                continue;
            }
            let train = received.payload;
            // An empty datagram is no QUIC packet.
            let (Some(remote), false) = (addr::parse(received.name), train.is_empty()) else {
                continue;
            };
            stats.client_rx_trains += 1;
            stats.client_rx_bytes += train.len() as u64;
            bytes += train.len();
            let segment_size = control.segment_size.filter(|&n| n > 0).unwrap_or(train.len());
            let local_ip = control.destination;
            deliver(&PacketMeta { remote, local_ip, ecn: control.ecn, segment_size }, train);
        }
    }

    pub(super) fn count(&mut self, outcome: &Outcome, stats: &mut IoStats) {
        stats.count_client(outcome);
        if outcome.offload_refused && mem::replace(&mut self.offload, false) {
            stats.gso_disabled += 1;
        }
    }
}

/// A connected target-facing socket.
#[derive(Debug)]
pub(super) struct Udp {
    pub(super) flow: Flow,
    pub(super) offload: bool,
}

impl Udp {
    pub(super) fn new(flow: Flow) -> Udp {
        Udp { flow, offload: true }
    }

    pub(super) fn receive(
        &mut self,
        id: EgressId,
        receiver: &mut Receiver,
        stats: &mut IoStats,
        mut deliver: impl FnMut(EgressEvent<'_>),
    ) {
        for _ in 0..READS_PER_SOCKET {
            match receiver.receive(self.flow.as_fd()) {
                Ok(received) if received.truncated => stats.rx_truncated += 1,
                Ok(received) => {
                    let train = received.payload;
                    stats.target_rx_trains += 1;
                    stats.target_rx_bytes += train.len() as u64;
                    let segment_size =
                        cmsg::parse(received.control).segment_size.unwrap_or(train.len());
                    deliver(EgressEvent::UdpReceived { id, train, segment_size });
                    if train.len() <= segment_size {
                        // Most likely the only one: epoll says if it wasn't, which is cheaper
                        // than asking each of many sockets.
                        return;
                    }
                }
                Err(libc::EAGAIN | libc::EINTR) => return,
                Err(errno) => {
                    deliver(EgressEvent::Failed { id, error: egress_error(errno) });
                }
            }
        }
    }

    pub(super) fn count(&mut self, outcome: &Outcome, stats: &mut IoStats) {
        stats.count_target(outcome);
        if outcome.offload_refused && mem::replace(&mut self.offload, false) {
            stats.gso_disabled += 1;
        }
    }
}
