use weir_abi::{DropReason, OursKind, PassReason, Verdict};

use super::{Named, build::*};

const PORT: u16 = 4433;
const V1: u32 = 1;
const V2: u32 = 0x6b33_43cf;
const NO_OPERATIONS: &[u8] = &[1; 4];
const LONGEST_OPTIONS: &[u8] = &[1; 40];

/// All of them.
pub(crate) fn table() -> Vec<Named> {
    let mut frames = Frames(Vec::new());
    link(&mut frames);
    ipv4(&mut frames);
    ipv6(&mut frames);
    flows(&mut frames);
    quic(&mut frames);
    listeners(&mut frames);
    frames.0
}

fn link(frames: &mut Frames) {
    let inner = V4::PLAIN.packet(UDP, &udp(53, 40_000, b"answer"));
    frames.flow("one 802.1Q tag", ethernet(&[0x8100], 0x0800, &inner), 6);
    frames.flow("802.1ad and 802.1Q tags", ethernet(&[0x88a8, 0x8100], 0x0800, &inner), 6);
    frames.flow("two 802.1Q tags", ethernet(&[0x8100, 0x8100], 0x0800, &inner), 6);
    let three = ethernet(&[0x88a8, 0x8100, 0x8100], 0x0800, &inner);
    frames.pass("three tags", three, PassReason::VlanDepth);
    frames.pass("ARP", ethernet(&[], 0x0806, &[0; 46]), PassReason::NotIp);
    frames.pass("tagged ARP", ethernet(&[0x8100], 0x0806, &[0; 46]), PassReason::NotIp);
    frames.pass("802.3 length field", ethernet(&[], 46, &[0; 46]), PassReason::NotIp);
    frames.pass("Ethernet header only", ethernet(&[], 0x0800, &[]), PassReason::Truncated);
    frames.pass("ends in a tag", ethernet(&[], 0x8100, &[0]), PassReason::Truncated);
}

fn ipv4(frames: &mut Frames) {
    let answer = udp(53, 40_000, b"answer");
    let with = |change: fn(&mut V4)| {
        let mut header = V4::PLAIN;
        change(&mut header);
        header.frame(UDP, &answer)
    };
    frames.flow("UDP", with(|_| {}), 6);
    frames.flow("4 bytes of options", with(|h| h.options = NO_OPERATIONS), 6);
    frames.flow("40 bytes of options", with(|h| h.options = LONGEST_OPTIONS), 6);
    frames.flow("DF clear", with(|h| h.fragment = 0), 6);
    frames.flow("reserved bit set", with(|h| h.fragment = 0x8000), 6);
    frames.pass("IHL 4", with(|h| h.version_ihl = Some(0x44)), PassReason::BadIpHeader);
    frames.pass("version 6 in IPv4", with(|h| h.version_ihl = Some(0x65)), PassReason::BadIpHeader);
    frames.pass("total length 19", with(|h| h.total_len = Some(19)), PassReason::BadIpHeader);
    frames.pass("total length 0", with(|h| h.total_len = Some(0)), PassReason::BadIpHeader);
    frames.pass("total length 24", with(|h| h.total_len = Some(24)), PassReason::BadTransport);
    frames.pass("total length beyond", with(|h| h.total_len = Some(99)), PassReason::Truncated);
    frames.pass("first fragment", with(|h| h.fragment = 0x2000), PassReason::Fragment);
    frames.pass("middle fragment", with(|h| h.fragment = 0x2010), PassReason::Fragment);
    frames.pass("last fragment", with(|h| h.fragment = 0x0010), PassReason::Fragment);
    frames.pass("ICMP packet too big", V4::PLAIN.frame(1, &[3, 4, 0, 0]), PassReason::Icmp);
    frames.pass("SCTP", V4::PLAIN.frame(132, &[0; 12]), PassReason::OtherProtocol);
    frames.pass("ICMPv6 in IPv4", V4::PLAIN.frame(58, &[0; 8]), PassReason::OtherProtocol);
    let mut cut = with(|_| {});
    cut.truncate(14 + 19);
    frames.pass("ends in the IP header", cut, PassReason::Truncated);
    let mut cut = with(|_| {});
    cut.truncate(14 + 20 + 7);
    frames.pass("ends in the UDP header", cut, PassReason::Truncated);
    let mut cut = with(|_| {});
    cut.pop();
    frames.pass("ends in the payload", cut, PassReason::Truncated);
}

fn ipv6(frames: &mut Frames) {
    let answer = udp(53, 40_000, b"answer");
    frames.flow("UDP over IPv6", v6(UDP, None, &answer), 6);
    frames.flow("hop-by-hop", v6(0, None, &extension(UDP, 0, &answer)), 6);
    frames.flow("routing of 24 bytes", v6(43, None, &extension(UDP, 2, &answer)), 6);
    let two = extension(60, 0, &extension(UDP, 1, &answer));
    frames.flow("hop-by-hop, destination", v6(0, None, &two), 6);
    let four = extension(60, 0, &extension(43, 0, &extension(60, 0, &extension(UDP, 0, &answer))));
    frames.flow("four extension headers", v6(0, None, &four), 6);
    let five = extension(60, 0, &four);
    frames.pass("five extension headers", v6(0, None, &five), PassReason::Extensions);
    let fragment = extension(UDP, 0, &answer);
    frames.pass("IPv6 fragment", v6(44, None, &fragment), PassReason::Fragment);
    let behind = extension(44, 0, &fragment);
    frames.pass("fragment behind hop-by-hop", v6(0, None, &behind), PassReason::Fragment);
    let authenticated = extension(UDP, 1, &answer);
    frames.pass("authentication header", v6(51, None, &authenticated), PassReason::Extensions);
    frames.pass("ESP", v6(50, None, &[0; 40]), PassReason::OtherProtocol);
    frames.pass("no next header", v6(59, None, &[]), PassReason::OtherProtocol);
    frames.pass("ICMPv6 packet too big", v6(58, None, &[2, 0, 0, 0]), PassReason::Icmp);
    frames.pass("ICMP in IPv6", v6(1, None, &[0; 8]), PassReason::OtherProtocol);
    frames.pass("payload length 0", v6(UDP, Some(0), &answer), PassReason::BadIpHeader);
    frames.pass("payload length beyond", v6(UDP, Some(99), &answer), PassReason::Truncated);
    let mut four_in_six = v6(UDP, None, &answer);
    four_in_six[14] = 0x45;
    frames.pass("version 4 in IPv6", four_in_six, PassReason::BadIpHeader);
    frames.pass("extension cut", v6(0, None, &[17]), PassReason::Truncated);
    let overlong = v6(0, None, &[17, 255, 0, 0, 0, 0, 0, 0]);
    frames.pass("extension beyond the frame", overlong, PassReason::Truncated);
}

fn flows(frames: &mut Frames) {
    frames.flow("empty UDP datagram", V4::PLAIN.frame(UDP, &udp(53, 40_000, b"")), 0);
    let mut padded = V4::PLAIN.frame(UDP, &udp(53, 40_000, b"ab"));
    padded.resize(60, 0);
    frames.flow("padding is not payload", padded, 2);
    let surplus = udp_len(53, 40_000, 10, b"abcdef");
    frames.flow("surplus after UDP", V4::PLAIN.frame(UDP, &surplus), 2);
    let beyond = udp_len(53, 40_000, 99, b"abcdef");
    frames.pass("UDP length beyond", V4::PLAIN.frame(UDP, &beyond), PassReason::BadTransport);
    let below = udp_len(53, 40_000, 7, b"abcdef");
    frames.pass("UDP length 7", V4::PLAIN.frame(UDP, &below), PassReason::BadTransport);
    frames.flow("TCP", V4::PLAIN.frame(TCP, &tcp(443, 40_001, 5, b"hello")), 5);
    frames.flow("TCP with options", V4::PLAIN.frame(TCP, &tcp(443, 40_001, 8, b"hello")), 5);
    frames.flow("TCP, longest header", v6(TCP, None, &tcp(443, 40_001, 15, b"hello")), 5);
    let mut ack = V4::PLAIN.frame(TCP, &tcp(443, 40_001, 5, b""));
    ack.resize(60, 0);
    frames.flow("padded TCP ACK", ack, 0);
    let low = V4::PLAIN.frame(TCP, &tcp(443, 40_001, 4, b"hello"));
    frames.pass("TCP data offset 4", low, PassReason::BadTransport);
    let mut high = tcp(443, 40_001, 5, b"hello");
    high[12] = 0xf0;
    frames.pass("TCP data offset beyond", V4::PLAIN.frame(TCP, &high), PassReason::BadTransport);
    let half = V4::PLAIN.frame(TCP, &tcp(443, 40_001, 5, b"")[..12]);
    frames.pass("ends in the TCP header", half, PassReason::Truncated);
    frames.flow("TCP to our UDP port", V4::PLAIN.frame(TCP, &tcp(443, PORT, 5, b"x")), 1);
}

fn quic(frames: &mut Frames) {
    let to_us = |payload: &[u8]| V4::PLAIN.frame(UDP, &udp(50_000, PORT, payload));
    frames.ours("Initial of 1200", to_us(&long(0xc0, V1, 1200)), OursKind::Initial, 1200);
    let initial = v6(UDP, None, &udp(50_000, PORT, &long(0xc0, V1, 1232)));
    frames.ours("Initial over IPv6", initial, OursKind::Initial, 1232);
    frames.ours("version 2 Initial", to_us(&long(0xd0, V2, 1200)), OursKind::Initial, 1200);
    frames.drop("Initial of 1199", to_us(&long(0xc0, V1, 1199)), DropReason::InitialTooShort);
    frames.drop("version 2, 1199", to_us(&long(0xd0, V2, 1199)), DropReason::InitialTooShort);
    let short_v6 = v6(UDP, None, &udp(50_000, PORT, &long(0xc3, V1, 60)));
    frames.drop("short Initial over IPv6", short_v6, DropReason::InitialTooShort);
    let options = V4 { options: LONGEST_OPTIONS, ..V4::PLAIN };
    let short_options = options.frame(UDP, &udp(50_000, PORT, &long(0xc0, V1, 100)));
    frames.drop("short Initial behind options", short_options, DropReason::InitialTooShort);
    let inner = V4::PLAIN.packet(UDP, &udp(50_000, PORT, &long(0xc0, V1, 100)));
    let tagged = ethernet(&[0x8100], 0x0800, &inner);
    frames.drop("tagged short Initial", tagged, DropReason::InitialTooShort);
    frames.ours("0-RTT", to_us(&long(0xd0, V1, 100)), OursKind::ZeroRtt, 100);
    frames.ours("Handshake", to_us(&long(0xe0, V1, 100)), OursKind::Handshake, 100);
    frames.ours("version 2 Handshake", to_us(&long(0xf0, V2, 100)), OursKind::Handshake, 100);
    frames.ours("Retry", to_us(&long(0xf0, V1, 100)), OursKind::Retry, 100);
    frames.ours("version 2 Retry", to_us(&long(0xc0, V2, 100)), OursKind::Retry, 100);
    let negotiation = to_us(&long(0x80, 0, 30));
    frames.ours("version negotiation", negotiation, OursKind::VersionNegotiation, 30);
    let unknown = to_us(&long(0xc0, 0x1a2a_3a4a, 100));
    frames.ours("unknown version", unknown, OursKind::UnknownVersion, 100);
    frames.ours("short header", to_us(&short(40)), OursKind::Short, 40);
    frames.ours("one byte", to_us(&short(1)), OursKind::Short, 1);
    frames.ours("long header cut", to_us(&long(0xc0, V1, 6)), OursKind::NotQuic, 6);
    frames.ours("no payload", to_us(&[]), OursKind::NotQuic, 0);
    let beyond = V4::PLAIN.frame(UDP, &udp_len(50_000, PORT, 99, &short(40)));
    frames.drop("our UDP length beyond", beyond, DropReason::UdpLength);
    let zero = V4::PLAIN.frame(UDP, &udp_len(50_000, PORT, 0, &short(40)));
    frames.drop("our UDP length 0", zero, DropReason::UdpLength);
    let zero = v6(UDP, None, &udp_len(50_000, PORT, 0, &short(40)));
    frames.pass("our UDP length 0 over IPv6", zero, PassReason::BadTransport);
    let first = V4 { fragment: 0x2000, ..V4::PLAIN };
    let first = first.frame(UDP, &udp(50_000, PORT, &long(0xc0, V1, 100)));
    frames.pass("fragmented short Initial", first, PassReason::Fragment);
}

fn listeners(frames: &mut Frames) {
    let udp4 = |port| V4::PLAIN.frame(UDP, &udp(50_000, port, &short(30)));
    let udp6 = |port| v6(UDP, None, &udp(50_000, port, &short(30)));
    frames.ours("0.0.0.0 takes IPv4", udp4(8443), OursKind::Short, 30);
    frames.flow("0.0.0.0 does not take IPv6", udp6(8443), 30);
    frames.ours(":: takes IPv6", udp6(9443), OursKind::Short, 30);
    frames.ours(":: takes IPv4", udp4(9443), OursKind::Short, 30);
    let mut elsewhere = udp4(PORT);
    elsewhere[14 + 19] = 2;
    frames.flow("our port, another address", elsewhere, 30);
    frames.flow("port 0", udp4(0), 30);
    let from = V4::PLAIN.frame(UDP, &udp(PORT, 50_000, &short(30)));
    frames.flow("from a peer's port 4433", from, 30);
}

struct Frames(Vec<Named>);

impl Frames {
    fn push(&mut self, name: &'static str, bytes: Vec<u8>, verdict: Verdict, payload_len: u32) {
        self.0.push(Named { name, bytes, verdict, payload_len });
    }

    fn flow(&mut self, name: &'static str, bytes: Vec<u8>, payload_len: u32) {
        self.push(name, bytes, Verdict::Pass(PassReason::Flow), payload_len);
    }

    fn pass(&mut self, name: &'static str, bytes: Vec<u8>, reason: PassReason) {
        self.push(name, bytes, Verdict::Pass(reason), 0);
    }

    fn ours(&mut self, name: &'static str, bytes: Vec<u8>, kind: OursKind, payload_len: u32) {
        self.push(name, bytes, Verdict::Ours(kind), payload_len);
    }

    fn drop(&mut self, name: &'static str, bytes: Vec<u8>, reason: DropReason) {
        self.push(name, bytes, Verdict::Drop(reason), 0);
    }
}
