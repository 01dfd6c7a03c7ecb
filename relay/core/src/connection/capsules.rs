//! HTTP Datagrams of CONNECT-UDP in capsules on the request stream (RFC 9297 section 3).

use std::time::Instant;

use bytes::Bytes;
use quinn_proto::StreamId;
use weir_proto::Error;
use weir_proto::capsule::CapsuleEvent;
use weir_proto::datagram::{UdpDatagram, decode_udp};
use weir_proto::h3::FrameEvent;

use crate::core::Core;
use crate::ledger::DropReason;
use crate::tunnel::udp;

use super::Connection;
use super::streams::{Read, read};

impl Connection {
    /// Reads the content of a UDP tunnel's request stream.
    pub(super) fn read_capsules(
        &mut self,
        core: &mut Core,
        id: StreamId,
        key: usize,
        now: Instant,
    ) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let rest = std::mem::take(&mut request.rest);
        let mut result = self.capsule_data(core, id, key, rest, now);
        while result.is_ok() {
            match read(&mut self.quic, id, usize::MAX) {
                Read::Data(chunk) => result = self.capsule_data(core, id, key, chunk, now),
                Read::Blocked | Read::Closed => return,
                Read::Reset => return self.cancelled(core, id),
                Read::Finished => match self.capsules_ended(id) {
                    // The client is done: so is the tunnel (RFC 9298 section 3.1).
                    Ok(()) => return self.finish_tunnel(core, key, now),
                    Err(error) => result = Err(error),
                },
            }
        }
        if let Err(error) = result {
            self.fail(core, id, error, now);
        }
    }

    fn capsule_data(
        &mut self,
        core: &mut Core,
        id: StreamId,
        key: usize,
        mut chunk: Bytes,
        now: Instant,
    ) -> Result<(), Error> {
        while let Some(request) = self.requests.get_mut(&id) {
            let Some(event) = request.decoder.decode(&mut chunk)? else { break };
            let FrameEvent::Data(mut content) = event else { continue };
            while let Some(request) = self.requests.get_mut(&id) {
                match request.capsules.decode(&mut content) {
                    None => break,
                    Some(CapsuleEvent::Datagram(payload)) => {
                        self.http_datagram(core, id, key, payload, now)?;
                    }
                    Some(CapsuleEvent::Oversize { .. }) => {
                        let meter = &mut core.tunnels[key].meter;
                        meter.up_received(1, 0);
                        meter.up_dropped(&mut core.stats, DropReason::TooBig, 1, 0);
                        core.mark_moved(key);
                    }
                    Some(CapsuleEvent::Unknown { .. }) => core.stats.capsules_skipped += 1,
                }
            }
        }
        Ok(())
    }

    fn capsules_ended(&mut self, id: StreamId) -> Result<(), Error> {
        let Some(request) = self.requests.get_mut(&id) else { return Ok(()) };
        request.decoder.finish()?;
        request.capsules.finish()
    }

    /// An HTTP Datagram of a UDP tunnel, however it came: both ways are counted alike.
    pub(super) fn http_datagram(
        &mut self,
        core: &mut Core,
        id: StreamId,
        key: usize,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), Error> {
        debug_assert_eq!(core.tunnels[key].stream, id);
        let len = payload.len() as u64;
        match decode_udp(payload)? {
            UdpDatagram::Payload(payload) => udp::uplink(core, key, payload, now),
            UdpDatagram::UnknownContext(_) | UdpDatagram::Malformed => {
                let meter = &mut core.tunnels[key].meter;
                meter.up_received(1, len);
                meter.up_dropped(&mut core.stats, DropReason::UnknownContext, 1, len);
                core.mark_moved(key);
            }
        }
        Ok(())
    }
}
