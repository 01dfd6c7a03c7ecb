use super::*;
use proptest::prelude::*;

fn target(text: &str) -> Target {
    Target::parse_authority(text).unwrap()
}

fn request(text: &str, command: u8) -> Vec<u8> {
    let mut bytes = vec![VERSION, command];
    bytes.extend_from_slice(&datagram_header(&target(text))[2..]);
    bytes
}

#[test]
fn requests_in_all_address_forms() {
    for text in ["web.lab.test:80", "192.0.2.1:443", "[2001:db8::1]:53"] {
        for (byte, command) in [(1, Command::Connect), (3, Command::UdpAssociate)] {
            let bytes = request(text, byte);
            let whole = Request { command, target: target(text) };
            assert_eq!(parse_request(&bytes), Ok(Some((whole, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(parse_request(&bytes[..cut]), Ok(None), "{text} cut at {cut}");
            }
        }
    }
}

#[test]
fn what_is_not_socks5_is_told_apart() {
    assert_eq!(parse_greeting(b"GET / HTTP/1.1"), Err(WireError::Version(b'G')));
    assert_eq!(parse_greeting(&[4, 1]), Err(WireError::Version(4)));
    assert_eq!(parse_greeting(&[5, 1, 2]), Ok(Some((false, 3))));
    assert_eq!(parse_greeting(&[5, 2, 2, 0, 9]), Ok(Some((true, 4))));
    assert_eq!(parse_request(&request("a:1", 2)), Err(WireError::Command(2)));
    assert_eq!(parse_request(&[5, 1, 0, 2, 0]), Err(WireError::AddressType(2)));
    assert_eq!(parse_request(b"\x05\x01\0\x03\x03a/b\0\x50"), Err(WireError::Host));
    assert_eq!(parse_request(b"\x05\x01\0\x03\0\0\x50"), Err(WireError::Host));
    assert_eq!(parse_request(b"\x05\x01\0\x03\x02\xff\xfe\0\x50"), Err(WireError::Host));
}

#[test]
fn fragments_and_port_zero_are_dropped() {
    let mut bytes = datagram_header(&target("192.0.2.1:7"));
    let header_len = bytes.len();
    bytes.extend_from_slice(b"payload");
    assert_eq!(parse_datagram(&bytes), Some((target("192.0.2.1:7"), header_len)));
    assert_eq!(parse_datagram(&bytes[..header_len - 1]), None);
    bytes[2] = 1;
    assert_eq!(parse_datagram(&bytes), None, "FRAG 1");
    assert_eq!(parse_datagram(&[0, 0, 0, 1, 192, 0, 2, 1, 0, 0]), None, "port 0");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, length))) = parse_request(&bytes) {
            prop_assert!(length <= bytes.len() && length <= REQUEST_BYTES_MAX);
        }
        if let Ok(Some((_, length))) = parse_greeting(&bytes) {
            prop_assert!(length <= bytes.len() && length <= REQUEST_BYTES_MAX);
        }
        if let Some((target, start)) = parse_datagram(&bytes) {
            prop_assert!(start <= bytes.len());
            let header = datagram_header(&target);
            prop_assert_eq!(parse_datagram(&header), Some((target, header.len())));
        }
    }

    /// A buffer of `REQUEST_BYTES_MAX` always suffices to decide.
    #[test]
    fn a_full_buffer_is_never_undecided(tail in proptest::collection::vec(any::<u8>(), REQUEST_BYTES_MAX)) {
        let mut bytes = tail;
        bytes[0] = VERSION;
        prop_assert!(!matches!(parse_request(&bytes), Ok(None)));
        prop_assert!(!matches!(parse_greeting(&bytes), Ok(None)));
    }
}
