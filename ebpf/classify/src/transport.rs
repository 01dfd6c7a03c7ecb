//! UDP (RFC 768) and TCP (RFC 9293), and whose packet it is.

use weir_abi::{
    Address, Config, Direction, DropReason, FlowKey, LISTEN_MAX, OursKind, PassReason, Protocol,
    Verdict,
};

use crate::{Classified, Frame, ip::Packet, need, quic};

const UDP_HEADER_LEN: u32 = 8;
const TCP_HEADER_LEN: u32 = 20;

#[inline(always)]
pub(crate) fn classify(
    frame: &impl Frame,
    packet: &Packet,
    config: &Config,
    direction: Direction,
) -> Result<Classified, PassReason> {
    if packet.protocol == Protocol::Udp as u8 {
        udp(frame, packet, config, direction)
    } else if packet.protocol == Protocol::Tcp as u8 {
        tcp(frame, packet, direction)
    } else {
        Err(PassReason::OtherProtocol)
    }
}

#[inline(always)]
fn udp(
    frame: &impl Frame,
    packet: &Packet,
    config: &Config,
    direction: Direction,
) -> Result<Classified, PassReason> {
    let header = u64::from_be_bytes(need(frame, packet.transport)?);
    let ports = Ports::new((header >> 32) as u32);
    let ours = match direction {
        Direction::Ingress => is_ours(config, packet.destination, ports.destination),
        Direction::Egress => is_ours(config, packet.source, ports.source),
    };
    let available = packet.transport_len(frame, direction)?;
    let udp_len = match direction {
        Direction::Ingress => (header >> 16 & 0xFFFF) as u32,
        Direction::Egress => available,
    };
    if udp_len < UDP_HEADER_LEN || udp_len > available {
        // An IPv6 UDP length of zero is a jumbogram's (RFC 2675), which the kernel may accept.
        if ours && !(packet.is_v6 && udp_len == 0) {
            let verdict = Verdict::Drop(DropReason::UdpLength);
            return Ok(Classified { verdict, flow: None, payload_len: 0, plain_payload: 0 });
        }
        return Err(PassReason::BadTransport);
    }
    let payload_len = udp_len - UDP_HEADER_LEN;
    let plain_payload = packet.transport + UDP_HEADER_LEN;
    if !ours {
        let flow = flow(packet, ports, direction, Protocol::Udp, payload_len);
        return Ok(Classified { plain_payload, ..flow });
    }
    let verdict = match direction {
        Direction::Ingress => quic::verdict(frame, plain_payload, payload_len),
        Direction::Egress => Verdict::Ours(OursKind::Sent),
    };
    let payload_len = if matches!(verdict, Verdict::Drop(_)) { 0 } else { payload_len };
    Ok(Classified { verdict, flow: None, payload_len, plain_payload })
}

#[inline(always)]
fn tcp(
    frame: &impl Frame,
    packet: &Packet,
    direction: Direction,
) -> Result<Classified, PassReason> {
    let ports = Ports::new(u32::from_be_bytes(need(frame, packet.transport)?));
    let [data_offset] = need(frame, packet.transport + 12)?;
    let header_len = u32::from(data_offset >> 4) * 4;
    let available = packet.transport_len(frame, direction)?;
    if header_len < TCP_HEADER_LEN || header_len > available {
        return Err(PassReason::BadTransport);
    }
    Ok(flow(packet, ports, direction, Protocol::Tcp, available - header_len))
}

#[inline(always)]
fn flow(
    packet: &Packet,
    ports: Ports,
    direction: Direction,
    protocol: Protocol,
    payload_len: u32,
) -> Classified {
    let (local, local_port, remote, remote_port) = match direction {
        Direction::Ingress => (packet.destination, ports.destination, packet.source, ports.source),
        Direction::Egress => (packet.source, ports.source, packet.destination, ports.destination),
    };
    let flow = FlowKey::of_packet(protocol, local, local_port, remote, remote_port);
    let verdict = Verdict::Pass(PassReason::Flow);
    Classified { verdict, flow: Some(flow), payload_len, plain_payload: 0 }
}

#[derive(Clone, Copy)]
struct Ports {
    source: u16,
    destination: u16,
}

impl Ports {
    #[inline(always)]
    const fn new(both: u32) -> Self {
        Self { source: (both >> 16) as u16, destination: both as u16 }
    }
}

#[inline(always)]
fn is_ours(config: &Config, addr: Address, port: u16) -> bool {
    for index in 0..LISTEN_MAX {
        if config.listen[index].takes(addr, port) {
            return true;
        }
    }
    false
}
