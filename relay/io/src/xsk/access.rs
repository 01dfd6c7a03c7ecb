//! The client-facing side: trains are cut into frames.

use std::net::{IpAddr, SocketAddr};

use weir_core::port::{Io, Transmit};

use super::Xsk;
use super::frame::{Template, header_len, payload_max};
use crate::message::Train;
use crate::send::Outcome;

impl Xsk {
    /// Sends a train as frames. Gives it back if the kernel's socket is the way to go.
    pub(super) fn send_to_client(
        &mut self,
        transmit: &Transmit,
        payload: Vec<u8>,
    ) -> Result<(), Vec<u8>> {
        let destination = transmit.destination;
        let Some(listen) = self.listen[usize::from(destination.is_ipv6())] else {
            return Err(payload);
        };
        let train = Train::to_client(transmit, payload.len());
        let source: Option<IpAddr> =
            transmit.src_ip.or_else(|| Some(listen.ip()).filter(|ip| !ip.is_unspecified()));
        let Some(hop) = self.neighbours.hop(self.now, destination.ip(), source) else {
            self.inner.stats_mut().xsk_kernel_sends += 1;
            return Err(payload);
        };
        let channels = &mut self.devices[hop.device].channels;
        if channels.is_empty() {
            // Another worker has this interface's queues.
            return Err(payload);
        }
        let place = usize::from(destination.port()) % channels.len();
        let channel = &mut channels[place];
        if !channel.zero_copy && train.datagrams(payload.len()) >= self.kernel_train {
            return Err(payload);
        }
        let from = SocketAddr::new(hop.source, listen.port());
        let Some(template) = Template::new(hop.macs, from, destination) else {
            return Err(payload);
        };
        let longest = payload_max(hop.mtu, destination.is_ipv4());
        let mut outcome = Outcome::default();
        for packet in train.singles(&payload) {
            let refused = if packet.len() > longest {
                Some(libc::EMSGSIZE)
            } else {
                match channel.send(|frame| template.write(frame, transmit.ecn, packet)) {
                    Ok(true) => None,
                    Ok(false) => Some(libc::EMSGSIZE),
                    Err(_) => Some(libc::ENOBUFS),
                }
            };
            if let Some(errno) = refused {
                outcome.dropped_datagrams += 1;
                outcome.drop_errno = errno;
            } else {
                outcome.sent_datagrams += 1;
                outcome.sent_bytes += packet.len() as u64;
            }
        }
        self.to_clients.add(&outcome, header_len(destination.is_ipv4()));
        let stats = self.inner.stats_mut();
        stats.count_client(&outcome);
        stats.xsk_tx_frames += u64::from(outcome.sent_datagrams);
        self.inner.give_back(payload);
        Ok(())
    }
}
