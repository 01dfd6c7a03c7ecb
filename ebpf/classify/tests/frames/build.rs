//! Frames put together field by field, so that each field can also be wrong.

pub(crate) const RELAY4: [u8; 4] = [192, 0, 2, 1];
pub(crate) const PEER4: [u8; 4] = [203, 0, 113, 9];
pub(crate) const RELAY6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const PEER6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

pub(crate) const UDP: u8 = 17;
pub(crate) const TCP: u8 = 6;

/// Ethernet header with VLAN tags (TPIDs from the outside in) before `ethertype`.
pub(crate) fn ethernet(tags: &[u16], ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(rest);
    frame
}

pub(crate) struct V4 {
    pub(crate) version_ihl: Option<u8>,
    pub(crate) total_len: Option<u16>,
    pub(crate) fragment: u16,
    pub(crate) options: &'static [u8],
}

impl V4 {
    pub(crate) const PLAIN: Self =
        Self { version_ihl: None, total_len: None, fragment: 0x4000, options: &[] };

    /// A packet from the peer to the relay.
    pub(crate) fn packet(&self, protocol: u8, rest: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total_len = self.total_len.unwrap_or((header_len + rest.len()) as u16);
        let mut packet = vec![self.version_ihl.unwrap_or(0x40 | (header_len / 4) as u8), 0];
        packet.extend(total_len.to_be_bytes());
        packet.extend([0, 1]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(PEER4);
        packet.extend(RELAY4);
        packet.extend(self.options);
        packet.extend(rest);
        packet
    }

    pub(crate) fn frame(&self, protocol: u8, rest: &[u8]) -> Vec<u8> {
        ethernet(&[], 0x0800, &self.packet(protocol, rest))
    }
}

/// An IPv6 packet from the peer to the relay; `payload_len` overrides the true one.
pub(crate) fn v6(next: u8, payload_len: Option<u16>, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(payload_len.unwrap_or(rest.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(PEER6);
    packet.extend(RELAY6);
    packet.extend(rest);
    ethernet(&[], 0x86dd, &packet)
}

/// An extension header of `8 * (units + 1)` bytes in front of `rest`.
pub(crate) fn extension(next: u8, units: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 8 * (usize::from(units) + 1)];
    header[..2].copy_from_slice(&[next, units]);
    header.extend(rest);
    header
}

pub(crate) fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    udp_len(source, destination, 8 + payload.len() as u16, payload)
}

pub(crate) fn udp_len(source: u16, destination: u16, len: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for field in [source, destination, len, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// A TCP segment; `words` is the data offset field, options are filled up to it.
pub(crate) fn tcp(source: u16, destination: u16, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([words << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    segment.resize(segment.len().max(usize::from(words) * 4), 1);
    segment.extend(payload);
    segment
}

/// A QUIC long header and zeros up to `len` bytes.
pub(crate) fn long(first: u8, version: u32, len: usize) -> Vec<u8> {
    let mut payload = vec![first];
    payload.extend(version.to_be_bytes());
    payload.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    payload.resize(len, 0);
    payload
}

/// A QUIC short header and zeros up to `len` bytes.
pub(crate) fn short(len: usize) -> Vec<u8> {
    let mut payload = vec![0x41; len.min(9)];
    payload.resize(len, 0);
    payload
}
