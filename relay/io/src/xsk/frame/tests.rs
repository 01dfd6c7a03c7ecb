use proptest::prelude::*;

use super::*;

const MACS: [Mac; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

fn written(source: &str, destination: &str, ecn: Option<EcnCodepoint>, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let template = Template::new(MACS, source, destination).unwrap();
    let mut frame = vec![0xAA; 2_048];
    let len = template.write(&mut frame, ecn, payload).unwrap();
    frame.truncate(len);
    frame
}

/// Byte by byte from RFC 894, RFC 791 and RFC 768; the checksums by the rule that all words sum up
/// to ones.
#[test]
fn a_frame_is_what_the_rfcs_say() {
    let frame = written("192.0.2.1:1000", "198.51.100.2:53", None, &[0x12, 0x34]);
    let expected = [
        &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00][..],
        &[0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0x4E, 0x89][..],
        &[192, 0, 2, 1, 198, 51, 100, 2][..],
        &[0x03, 0xE8, 0, 53, 0, 10, 0xAD, 0x2F, 0x12, 0x34][..],
    ];
    // The plain way of RFC 1071, word by word.
    let words = |bytes: &[u8]| {
        let mut sum: u32 = bytes
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
            .sum();
        while sum >> 16 != 0 {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum as u16
    };
    assert_eq!(words(&frame[14..34]), 0xFFFF, "the IP header sums up to all ones");
    let pseudo = [&frame[26..34], &[0, 17, 0, 10], &frame[34..]].concat();
    assert_eq!(words(&pseudo), 0xFFFF, "and so does the datagram with its pseudo header");
    let without_sums = |bytes: &[u8]| [&bytes[..24], &bytes[26..40], &bytes[42..]].concat();
    assert_eq!(without_sums(&frame), without_sums(&expected.concat()));
}

#[test]
fn a_computed_zero_checksum_is_sent_as_all_ones() {
    let zero = (0..=u16::MAX).find(|n| {
        let frame = written("10.0.0.1:1", "10.0.0.2:2", None, &n.to_be_bytes());
        frame[40..42] == [0xFF, 0xFF]
    });
    let frame = written("10.0.0.1:1", "10.0.0.2:2", None, &zero.unwrap().to_be_bytes());
    assert!(Datagram::read(&frame).unwrap().is_intact());
}

#[test]
fn a_begun_checksum_is_accepted_and_a_wrong_one_is_not() {
    let mut frame = written("10.0.0.1:1", "10.0.0.2:2", None, b"payload");
    frame[40] ^= 0x55;
    assert!(!Datagram::read(&frame).unwrap().is_intact());
    let pseudo = Sum::default().bytes(&frame[26..34]).word(17).word(15);
    frame[40..42].copy_from_slice(&pseudo.fold());
    assert!(Datagram::read(&frame).unwrap().is_intact());
    frame[40..42].fill(0);
    assert!(Datagram::read(&frame).unwrap().is_intact(), "IPv4 may go without");
    let mut frame = written("[2001:db8::1]:1", "[2001:db8::2]:2", None, b"payload");
    frame[60..62].fill(0);
    assert!(!Datagram::read(&frame).unwrap().is_intact(), "IPv6 may not");
}

#[test]
fn padding_is_left_out_and_oddities_are_refused() {
    let mut frame = written("10.0.0.1:1", "10.0.0.2:2", None, b"x");
    frame.resize(60, 0);
    assert_eq!(Datagram::read(&frame).unwrap().payload, b"x");
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut frame = frame.clone();
        change(&mut frame);
        assert_eq!(Datagram::read(&frame), None);
    };
    refused(|frame| frame[12] = 0x81);
    refused(|frame| frame[14] = 0x46);
    refused(|frame| frame[20] |= 0x20);
    refused(|frame| frame[21] = 1);
    refused(|frame| frame[23] = 6);
    refused(|frame| frame[17] += 1);
    refused(|frame| frame[39] += 1);
    refused(|frame| frame.truncate(40));
    let mut frame = written("[::1]:1", "[::2]:2", None, b"x");
    frame[20] = 44;
    assert_eq!(Datagram::read(&frame), None, "an extension header");
}

#[test]
fn what_does_not_fit_is_not_written() {
    let template =
        Template::new(MACS, "10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap()).unwrap();
    assert_eq!(template.write(&mut [0; 50], None, &[0; 9]), None);
    assert_eq!(template.write(&mut [0; 51], None, &[0; 9]), Some(51));
    assert_eq!(template.write(&mut vec![0; 1 << 17], None, &vec![0; 65_530]), None);
    assert_eq!((payload_max(1500, true), payload_max(1500, false)), (1472, 1452));
    let mixed = Template::new(MACS, "10.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
    assert!(mixed.is_none());
}

prop_compose! {
    fn address(v4: bool)(octets in any::<[u8; 16]>(), port in any::<u16>()) -> SocketAddr {
        let [a, b, c, d, ..] = octets;
        let ip = if v4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(octets).into() };
        SocketAddr::new(ip, port)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (source, destination) in any::<bool>().prop_flat_map(|v4| (address(v4), address(v4))),
        bits in 0u8..4,
        payload in proptest::collection::vec(any::<u8>(), 0..1_500),
    ) {
        let ecn = EcnCodepoint::from_bits(bits);
        let template = Template::new(MACS, source, destination).unwrap();
        let mut frame = vec![0; 2_048];
        let len = template.write(&mut frame, ecn, &payload).unwrap();
        let read = Datagram::read(&frame[..len]).unwrap();
        prop_assert_eq!((read.source, read.destination), (source, destination));
        prop_assert_eq!((read.ecn, read.payload), (ecn, &payload[..]));
        prop_assert!(read.is_intact());
    }

    #[test]
    fn one_changed_bit_of_the_payload_is_seen(
        payload in proptest::collection::vec(any::<u8>(), 1..100),
        at in any::<proptest::sample::Index>(),
    ) {
        let mut frame = written("10.0.0.1:1", "10.0.0.2:2", None, &payload);
        let bit = at.index(payload.len() * 8);
        frame[42 + bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!Datagram::read(&frame).unwrap().is_intact());
    }

    #[test]
    fn no_bytes_panic(
        mut frame in proptest::collection::vec(any::<u8>(), 0..200),
        v4 in any::<bool>(),
        plausible in any::<bool>(),
    ) {
        if plausible && frame.len() > 24 {
            frame[12..14].copy_from_slice(if v4 { &ETHERTYPE_IPV4 } else { &ETHERTYPE_IPV6 });
            frame[14] = if v4 { 0x45 } else { 0x60 };
            frame[if v4 { 23 } else { 20 }] = UDP;
        }
        if let Some(datagram) = Datagram::read(&frame) {
            datagram.is_intact();
        }
    }
}
