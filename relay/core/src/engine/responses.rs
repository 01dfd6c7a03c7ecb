use std::collections::VecDeque;

use crate::port::Transmit;

/// Packets that belong to no connection, kept until the turn ends. Beyond it they are lost, as
/// they may be on any network: whoever needs one asks again.
const RESPONSES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Responses {
    queue: VecDeque<(Transmit, Vec<u8>)>,
}

impl Responses {
    pub(super) fn push(&mut self, transmit: &quinn_proto::Transmit, packet: &[u8]) {
        if self.queue.len() < RESPONSES_MAX {
            self.queue.push_back((to_port(transmit), packet[..transmit.size].to_vec()));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Transmit, Vec<u8>)> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

pub(super) fn to_port(transmit: &quinn_proto::Transmit) -> Transmit {
    Transmit {
        destination: transmit.destination,
        src_ip: transmit.src_ip,
        ecn: transmit.ecn,
        segment_size: transmit.segment_size,
    }
}
