//! What every fuzz target does with its input. `tests/corpus.rs` of weir-proto runs the same
//! functions over the committed corpora, so a finding that was added there stays fixed.

use bytes::{Bytes, BytesMut};
use weir_proto::capsule::{CapsuleDecoder, CapsuleEvent, MAX_DATAGRAM_BYTES};
use weir_proto::h3::{CriticalStreams, FrameDecoder, FrameEvent, Peer, UniEvent, UniStream};
use weir_proto::template::{Templates, UriTemplate};
use weir_proto::{Error, Field, Host, Target, datagram, qpack, request, response, varint};

const MAX_HEADER_BYTES: usize = 256;

/// Frames of a request stream: cut into pieces they say the same as in one. The first byte is the
/// size of the pieces, its top bit says which side the peer is, and its next whether a tunnel was
/// entered.
pub fn frames(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let peer = if first & 0x80 == 0 { Peer::Client } else { Peer::Server };
    let run = |piece: usize| {
        let mut decoder = FrameDecoder::new(peer, MAX_HEADER_BYTES);
        let mut events: Vec<FrameEvent> = Vec::new();
        for chunk in stream.chunks(piece) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            loop {
                match decoder.decode(&mut chunk) {
                    Ok(None) => break assert!(chunk.is_empty()),
                    Ok(Some(event)) => {
                        if matches!(event, FrameEvent::Headers(_)) && first & 0x40 != 0 {
                            decoder.enter_tunnel();
                        }
                        push_joined(event, &mut events);
                    }
                    Err(error) => return (events, Err(error)),
                }
            }
        }
        (events, decoder.finish())
    };
    assert_eq!(run(usize::from(first & 0x3f) + 1), run(stream.len().max(1)));
}

/// DATA is told in pieces, so what is compared is the pieces put together.
fn push_joined(event: FrameEvent, events: &mut Vec<FrameEvent>) {
    match (event, events.last_mut()) {
        (FrameEvent::Data(more), Some(FrameEvent::Data(before))) => {
            assert!(!more.is_empty());
            *before = [&before[..], &more[..]].concat().into();
        }
        (FrameEvent::Headers(section) | FrameEvent::Trailers(section), _)
            if section.len() > MAX_HEADER_BYTES =>
        {
            panic!("a section above the limit was kept")
        }
        (event, _) => events.push(event),
    }
}

/// Unidirectional streams: the first byte is as for `frames`; the rest is the same stream twice,
/// so that a second control stream is seen too.
pub fn uni_streams(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let peer = if first & 0x80 == 0 { Peer::Client } else { Peer::Server };
    let run = |piece: usize| {
        let mut critical = CriticalStreams::new(peer);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            let mut uni = UniStream::new();
            let mut events: Vec<UniEvent> = Vec::new();
            let outcome = stream.chunks(piece).try_for_each(|chunk| {
                let mut chunk = Bytes::copy_from_slice(chunk);
                while let Some(event) = uni.decode(&mut critical, &mut chunk)? {
                    events.push(event);
                }
                assert!(chunk.is_empty());
                Ok::<(), Error>(())
            });
            outcomes.push((events, outcome, uni.finish()));
        }
        outcomes
    };
    assert_eq!(run(usize::from(first & 0x7f) + 1), run(stream.len().max(1)));
}

/// Capsules: cut into pieces they say the same as in one. The first byte is the size of the pieces.
pub fn capsules(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let run = |piece: usize| {
        let mut decoder = CapsuleDecoder::new();
        let mut events = Vec::new();
        for chunk in stream.chunks(piece) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(event) = decoder.decode(&mut chunk) {
                if let CapsuleEvent::Datagram(payload) = &event {
                    assert!(payload.len() <= MAX_DATAGRAM_BYTES);
                    let _ = datagram::decode_udp(payload.clone());
                }
                events.push(event);
            }
            assert!(chunk.is_empty());
        }
        (events, decoder.finish())
    };
    assert_eq!(run(usize::from(*first) + 1), run(stream.len().max(1)));
}

/// QUIC DATAGRAM frames, and variable-length integers.
pub fn datagrams(input: &[u8]) {
    if let Some((value, len)) = varint::read(input) {
        assert!(value <= varint::MAX && varint::len(value) <= len && len <= input.len());
    }
    if let Ok(http) = datagram::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(http.stream_id % 4, 0);
        assert!(http.payload.len() < input.len());
        let _ = datagram::decode_udp(http.payload);
    }
}

/// Encoded field sections: what can be decoded is within the limit, and survives our encoder.
pub fn qpack_sections(input: &[u8]) {
    const LIMIT: usize = 4096;
    let Ok(fields) = qpack::decode(Bytes::copy_from_slice(input), LIMIT) else { return };
    assert!(fields.iter().map(Field::size).sum::<usize>() <= LIMIT);
    let mut section = BytesMut::new();
    qpack::encode(&fields, &mut section);
    assert_eq!(qpack::decode(section.freeze(), LIMIT).as_ref(), Ok(&fields));
    let _ = request::parse(&fields, &Templates::default());
    let _ = response::parse(&fields);
}

/// Requests, written as lines of `name: value`.
pub fn requests(input: &[u8]) {
    let Ok(request) = request::parse(&lines(input), &Templates::default()) else { return };
    let target = match &request.kind {
        request::Kind::Connect(target) | request::Kind::ConnectUdp(target) => target,
        request::Kind::Resource { method, .. } => return assert_ne!(method, "CONNECT"),
    };
    check_target(target);
}

/// Responses, written as lines of `name: value`.
pub fn responses(input: &[u8]) {
    if let Ok(response) = response::parse(&lines(input)) {
        assert!((100..600).contains(&response.status));
    }
}

/// Hosts, authorities and paths that name a target.
pub fn targets(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let host = Host::parse(text).map(|host| Target { host, port: 443 });
    let path = Templates::default().match_path(text);
    for target in [host, path, Target::from_authority(text)].into_iter().flatten() {
        check_target(&target);
    }
}

/// Templates: one that is accepted finds what it expands.
pub fn templates(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(template) = UriTemplate::parse(text) else { return };
    for host in ["192.0.2.7", "2001:db8::42", "a-b.example"] {
        let target = Target { host: Host::parse(host).unwrap(), port: 65535 };
        assert_eq!(template.match_path(&template.expand(&target)), Some(Ok(target)));
    }
}

/// A target that was accepted is canonical: all its spellings are the same target, and a name in it
/// is no address.
fn check_target(target: &Target) {
    assert_ne!(target.port, 0);
    assert_eq!(Target::from_authority(&target.to_string()).as_ref(), Ok(target));
    for template in &Templates::default().0 {
        let found = template.match_path(&template.expand(target));
        assert_eq!(found, Some(Ok(target.clone())));
    }
    if let Host::Name(name) = &target.host {
        assert!(name.len() <= 253 && !name.ends_with('.'));
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic()));
        assert!(!name.rsplit('.').next().unwrap().bytes().all(|byte| byte.is_ascii_digit()));
    }
}

fn lines(input: &[u8]) -> Vec<Field> {
    let lines = input.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            // The colon of a pseudo-header is part of its name.
            let colon = line.iter().skip(1).position(|byte| *byte == b':').map(|at| at + 1);
            let (name, value) = line.split_at(colon.unwrap_or(line.len()));
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            Field { name: name.to_vec().into(), value: value.to_vec().into() }
        })
        .collect()
}
