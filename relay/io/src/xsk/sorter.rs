//! Whose is a frame that arrived? A client's, a target's, another worker's, or nobody's.

use std::net::SocketAddr;
use std::time::Instant;

use weir_core::port::{EgressEvent, Handler, PacketMeta};

use super::crossing::Crossing;
use super::exit::ExitFlow;
use super::frame::Datagram;
use super::ports::Ports;
use crate::config::IoStats;
use crate::egress::Table;

/// Sorts the frames of one turn.
#[derive(Debug)]
pub(super) struct Sorter<'a> {
    pub(super) now: Instant,
    pub(super) worker: usize,
    /// Where clients are served, IPv4 and IPv6.
    pub(super) listen: &'a [Option<SocketAddr>; 2],
    pub(super) ports: &'a Ports,
    pub(super) flows: &'a mut Table<ExitFlow>,
    pub(super) crossing: &'a Crossing,
    pub(super) stats: &'a mut IoStats,
}

impl Sorter<'_> {
    /// Hands on a frame of one of this worker's queues.
    #[inline]
    pub(super) fn arrived<H: Handler>(&mut self, frame: &[u8], handler: &mut H) {
        self.stats.xsk_rx_frames += 1;
        let Some(datagram) = Datagram::read(frame) else {
            self.stats.xsk_foreign += 1;
            return;
        };
        if self.is_for_clients_socket(&datagram) {
            return self.client_sent(&datagram, handler);
        }
        match self.ports.worker(datagram.destination.port()) {
            Some(worker) if worker == self.worker => self.target_sent(&datagram, handler),
            Some(worker) => {
                let taken = self.crossing.hand_over(worker, frame);
                self.stats.xsk_crossed += u64::from(taken);
                self.stats.xsk_crossed_lost += u64::from(!taken);
            }
            None => self.stats.xsk_foreign += 1,
        }
    }

    /// Hands on a frame that another worker received.
    pub(super) fn crossed<H: Handler>(&mut self, frame: &[u8], handler: &mut H) {
        match Datagram::read(frame) {
            Some(datagram) => self.target_sent(&datagram, handler),
            None => self.stats.xsk_foreign += 1,
        }
    }

    fn is_for_clients_socket(&self, datagram: &Datagram<'_>) -> bool {
        let to = datagram.destination;
        self.listen[usize::from(to.is_ipv6())].is_some_and(|listen| {
            listen.port() == to.port() && (listen.ip().is_unspecified() || listen.ip() == to.ip())
        })
    }

    /// QUIC authenticates its packets, so their checksum is left alone.
    fn client_sent<H: Handler>(&mut self, datagram: &Datagram<'_>, handler: &mut H) {
        let packet = datagram.payload;
        if packet.is_empty() {
            self.stats.xsk_foreign += 1;
            return;
        }
        self.stats.client_rx_trains += 1;
        self.stats.client_rx_bytes += packet.len() as u64;
        let meta = PacketMeta {
            remote: datagram.source,
            local_ip: Some(datagram.destination.ip()),
            ecn: datagram.ecn,
            segment_size: packet.len(),
        };
        handler.handle_packets(self.now, &meta, packet);
    }

    fn target_sent<H: Handler>(&mut self, datagram: &Datagram<'_>, handler: &mut H) {
        let id = self.ports.flow(datagram.destination.port(), datagram.source);
        let flow = id.and_then(|id| Some((id, self.flows.get(id)?)));
        let Some((id, _)) = flow.filter(|(_, flow)| flow.local() == datagram.destination) else {
            self.stats.xsk_foreign += 1;
            return;
        };
        if !datagram.is_intact() {
            self.stats.xsk_bad_checksum += 1;
            return;
        }
        let train = datagram.payload;
        self.stats.target_rx_trains += 1;
        self.stats.target_rx_bytes += train.len() as u64;
        handler.handle_egress(
            self.now,
            EgressEvent::UdpReceived { id, train, segment_size: train.len() },
        );
    }
}
