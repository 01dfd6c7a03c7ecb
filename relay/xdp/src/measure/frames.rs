//! One packet of each kind that a relay's interface sees.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_abi::{Direction, DropReason, OursKind, PassReason, Verdict};

/// A packet to run a program on.
pub(super) struct Frame {
    pub(super) name: &'static str,
    pub(super) direction: Direction,
    pub(super) verdict: Verdict,
    /// With redirecting to AF_XDP sockets turned on.
    pub(super) redirect: bool,
    pub(super) bytes: Vec<u8>,
}

const RELAY4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const RELAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const OTHER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 9, 0, 0, 0, 9));

pub(super) const LISTEN4: SocketAddr = SocketAddr::new(RELAY4, 4433);
pub(super) const LISTEN6: SocketAddr = SocketAddr::new(RELAY6, 4433);
pub(super) const EXIT4: SocketAddr = SocketAddr::new(RELAY4, 40_000);
pub(super) const EXIT6: SocketAddr = SocketAddr::new(RELAY6, 40_000);
pub(super) const REDIRECTED4: SocketAddr = SocketAddr::new(RELAY4, 40_001);
pub(super) const PEER4: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 53_000);
pub(super) const PEER6: SocketAddr = SocketAddr::new(OTHER6, 53_000);
const FOREIGN4: SocketAddr = SocketAddr::new(RELAY4, 50_000);
const FOREIGN6: SocketAddr = SocketAddr::new(RELAY6, 50_000);

const PAYLOAD_LEN: usize = 1200;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// All of them. The names are the bench's.
pub(super) fn all() -> Vec<Frame> {
    let payload = [0; PAYLOAD_LEN];
    let short = [0x41; PAYLOAD_LEN];
    let mut initial = [0; PAYLOAD_LEN];
    initial[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8]);
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut fragment = udp(PEER4, FOREIGN4, &payload);
    fragment[20] = 0x20;
    let mut bad_length = udp(PEER4, LISTEN4, &short);
    bad_length[38..40].copy_from_slice(&[0xff, 0xff]);
    let mut tagged = udp(PEER4, EXIT4, &payload);
    tagged.splice(12..12, [0x81, 0x00, 0, 7]);
    let echo = ip(ICMP, PEER4.ip(), RELAY4, &[0; 64]);
    let tcp = |from, to| segment(from, to, &payload);
    let (flow, loose) = (Verdict::Pass(PassReason::Flow), Verdict::Pass(PassReason::Unattributed));
    let short_header = Verdict::Ours(OursKind::Short);
    let is_initial = Verdict::Ours(OursKind::Initial);
    let too_short = Verdict::Drop(DropReason::InitialTooShort);
    let down = |name, verdict, bytes| Frame {
        name,
        direction: Direction::Ingress,
        verdict,
        redirect: false,
        bytes,
    };
    let up =
        |name, verdict, bytes| Frame { direction: Direction::Egress, ..down(name, verdict, bytes) };
    let to_xsk = |name, verdict, bytes| Frame { redirect: true, ..down(name, verdict, bytes) };
    vec![
        down("not IP", Verdict::Pass(PassReason::NotIp), arp),
        down("ICMP", Verdict::Pass(PassReason::Icmp), echo),
        down("fragment", Verdict::Pass(PassReason::Fragment), fragment),
        down("foreign TCP", loose, tcp(PEER4, FOREIGN4)),
        down("exit flow, unattributed", loose, udp(PEER4, FOREIGN4, &payload)),
        down("foreign UDP over IPv6", loose, udp(PEER6, FOREIGN6, &payload)),
        down("client, short header", short_header, udp(PEER4, LISTEN4, &short)),
        down("client over IPv6, short header", short_header, udp(PEER6, LISTEN6, &short)),
        down("client, Initial", is_initial, udp(PEER4, LISTEN4, &initial)),
        down("client, short Initial", too_short, udp(PEER4, LISTEN4, &initial[..99])),
        down("client, bad UDP length", Verdict::Drop(DropReason::UdpLength), bad_length),
        down("exit flow, in the table", flow, udp(PEER4, EXIT4, &payload)),
        down("exit flow over IPv6, in the table", flow, udp(PEER6, EXIT6, &payload)),
        down("exit flow behind a VLAN tag", flow, tagged),
        up("exit flow, leaving", flow, udp(EXIT4, PEER4, &payload)),
        up("foreign TCP, leaving", loose, tcp(FOREIGN4, PEER4)),
        up("to a client, leaving", Verdict::Ours(OursKind::Sent), udp(LISTEN4, PEER4, &short)),
        to_xsk("client, to AF_XDP", short_header, udp(PEER4, LISTEN4, &short)),
        to_xsk("exit flow, to AF_XDP", flow, udp(PEER4, REDIRECTED4, &payload)),
    ]
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let mut datagram = Vec::new();
    for field in [from.port(), to.port(), len, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    ip(UDP, from.ip(), to.ip(), &datagram)
}

fn segment(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    for port in [from.port(), to.port()] {
        segment.extend(port.to_be_bytes());
    }
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    ip(TCP, from.ip(), to.ip(), &segment)
}

/// An Ethernet frame with an IP packet.
fn ip(protocol: u8, from: IpAddr, to: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + payload.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(octets(from));
            frame.extend(octets(to));
        }
    }
    frame.extend(payload);
    frame
}
