//! What a verdict costs on this host.

use std::net::{Ipv4Addr, SocketAddr};

use weir_abi::{OursKind, PassReason, Protocol, Verdict};

use crate::error::Result;
use crate::flows::Flow;
use crate::kernel::{OBJECT, Programs};

/// Cost of one kind of packet in the XDP program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictCost {
    /// What the packet is.
    pub name: &'static str,
    pub verdict: Verdict,
    /// Mean over a million runs by `BPF_PROG_TEST_RUN`, with warm caches: the program alone, no
    /// driver and no cache misses on the packet.
    pub nanoseconds: u32,
}

const RELAY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4433);
const EXIT_PORT: u16 = 40_000;
const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 53_000);
const PAYLOAD_LEN: usize = 1200;
const REPEAT: u32 = 1_000_000;

/// Loads the programs, attaches nothing, and times one frame of each kind.
pub fn measure_verdicts() -> Result<Vec<VerdictCost>> {
    use weir_abi::DropReason::InitialTooShort;
    let mut programs = Programs::load(OBJECT, 16)?;
    programs.configure(&[RELAY])?;
    let exit = SocketAddr::new(RELAY.ip(), EXIT_PORT);
    programs.flows().insert(&Flow { protocol: Protocol::Udp, local: exit, remote: PEER })?;
    let short = udp(RELAY.port(), &[0x41; PAYLOAD_LEN]);
    let mut initial = [0; PAYLOAD_LEN];
    initial[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8]);
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let flow = Verdict::Pass(PassReason::Flow);
    [
        ("not IP", Verdict::Pass(PassReason::NotIp), arp),
        ("client, short header", Verdict::Ours(OursKind::Short), short),
        ("client, Initial", Verdict::Ours(OursKind::Initial), udp(RELAY.port(), &initial)),
        (
            "client, short Initial",
            Verdict::Drop(InitialTooShort),
            udp(RELAY.port(), &initial[..99]),
        ),
        ("exit flow, in the table", flow, udp(EXIT_PORT, &[0; PAYLOAD_LEN])),
        ("exit flow, unattributed", flow, udp(EXIT_PORT + 1, &[0; PAYLOAD_LEN])),
    ]
    .into_iter()
    .map(|(name, verdict, frame)| {
        let nanoseconds = programs.run_ingress(&frame, REPEAT)?.nanoseconds;
        Ok(VerdictCost { name, verdict, nanoseconds })
    })
    .collect()
}

/// A frame from the peer to `port` of the relay.
fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_len = (8 + payload.len()) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0]);
    frame.extend((20 + udp_len).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    for address in [PEER, RELAY] {
        if let SocketAddr::V4(address) = address {
            frame.extend(address.ip().octets());
        }
    }
    for field in [PEER.port(), port, udp_len, 0] {
        frame.extend(field.to_be_bytes());
    }
    frame.extend(payload);
    frame
}
