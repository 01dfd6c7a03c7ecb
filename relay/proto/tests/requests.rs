//! Requests: what is malformed, what is refused, what is served.

use weir_proto::request::{Credential, Kind, Request, client, parse};
use weir_proto::template::{Templates, UriTemplate};
use weir_proto::{Error, Field, H3Code, Host, Target};

const UDP_PATH: &str = "/.well-known/masque/udp/example.com/443/";

fn fields(pairs: &[(&'static str, &str)]) -> Vec<Field> {
    pairs.iter().map(|(name, value)| Field::new(name, (*value).to_owned())).collect()
}

fn read(pairs: &[(&'static str, &str)]) -> Result<Request, Error> {
    parse(&fields(pairs), &Templates::default())
}

fn connect_udp() -> Vec<(&'static str, &'static str)> {
    vec![
        (":method", "CONNECT"),
        (":protocol", "connect-udp"),
        (":scheme", "https"),
        (":authority", "exit.example"),
        (":path", UDP_PATH),
    ]
}

fn without(
    mut pairs: Vec<(&'static str, &'static str)>,
    name: &str,
) -> Vec<(&'static str, &'static str)> {
    pairs.retain(|pair| pair.0 != name);
    pairs
}

fn with(
    mut pairs: Vec<(&'static str, &'static str)>,
    name: &'static str,
    value: &'static str,
) -> Vec<(&'static str, &'static str)> {
    match pairs.iter_mut().find(|pair| pair.0 == name) {
        Some(pair) => pair.1 = value,
        None => pairs.push((name, value)),
    }
    pairs
}

#[track_caller]
fn assert_malformed(pairs: &[(&'static str, &str)]) {
    let result = read(pairs);
    assert!(
        matches!(result, Err(Error::Stream { code: H3Code::MESSAGE_ERROR, .. })),
        "{pairs:?} gave {result:?}"
    );
}

#[track_caller]
fn assert_refused(pairs: &[(&'static str, &str)], status: u16) {
    match read(pairs) {
        Err(Error::Refused(refusal)) => assert_eq!(refusal.status, status, "{pairs:?}"),
        other => panic!("{pairs:?} gave {other:?}"),
    }
}

fn target() -> Target {
    Target { host: Host::Name("example.com".into()), port: 443 }
}

#[test]
fn the_three_kinds_of_request() {
    let connect = read(&[(":method", "CONNECT"), (":authority", "example.com:443")]).unwrap();
    assert_eq!(connect.kind, Kind::Connect(target()));
    assert_eq!(connect.challenge_status(), 407);
    let udp = read(&connect_udp()).unwrap();
    assert_eq!(udp.kind, Kind::ConnectUdp(target()));
    assert_eq!(udp.authority, "exit.example");
    assert!(!udp.capsule_protocol);
    let resource = read(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "exit.example"),
        (":path", "/.well-known/weir/voucher"),
        ("content-length", "12"),
    ])
    .unwrap();
    assert_eq!(
        resource.kind,
        Kind::Resource {
            method: "POST".into(),
            path: "/.well-known/weir/voucher".into(),
            content_length: Some(12),
        }
    );
    assert_eq!(resource.challenge_status(), 401);
}

#[test]
fn c07_unknown_protocols_are_not_implemented() {
    for protocol in ["connect-ip", "websocket", "connect-udp2", "CONNECT-UDP"] {
        assert_refused(&with(connect_udp(), ":protocol", protocol), 501);
    }
}

#[test]
fn c08_extended_connect_needs_every_pseudo_header() {
    for name in [":scheme", ":authority", ":path"] {
        assert_malformed(&without(connect_udp(), name));
        assert_malformed(&with(connect_udp(), name, ""));
    }
    assert_malformed(&with(connect_udp(), ":method", "GET"));
    assert_refused(&with(connect_udp(), ":scheme", "http"), 400);
}

#[test]
fn c09_content_headers_on_a_capsule_stream_are_malformed() {
    for (name, value) in
        [("content-length", "0"), ("content-type", "text/plain"), ("transfer-encoding", "chunked")]
    {
        assert_malformed(&with(connect_udp(), name, value));
    }
}

#[test]
fn c11_capsule_protocol_is_one_boolean() {
    let capsule = |value| read(&with(connect_udp(), "capsule-protocol", value)).unwrap();
    assert!(capsule("?1").capsule_protocol);
    assert!(capsule("?1;unknown=\"x\"").capsule_protocol);
    for value in ["?0", "1", "true", "", "?1, ?1", "\"?1\""] {
        assert!(!capsule(value).capsule_protocol, "{value}");
    }
    let mut twice = connect_udp();
    twice.extend([("capsule-protocol", "?1"), ("capsule-protocol", "?1")]);
    assert!(!read(&twice).unwrap().capsule_protocol);
}

#[test]
fn c26_paths_of_no_template_are_not_found() {
    assert_refused(&with(connect_udp(), ":path", "/masque"), 404);
    let other = Templates(vec![UriTemplate::parse("/masque{?target_host,target_port}").unwrap()]);
    let pairs = with(connect_udp(), ":path", "/masque?target_host=example.com&target_port=443");
    assert_eq!(parse(&fields(&pairs), &other).unwrap().kind, Kind::ConnectUdp(target()));
}

#[test]
fn c28_wrong_targets_get_an_answer() {
    assert_refused(&with(connect_udp(), ":path", "/.well-known/masque/udp/example.com/0/"), 400);
    assert_refused(&with(connect_udp(), ":path", "/.well-known/masque/udp//443/"), 400);
    assert_refused(&with(connect_udp(), ":path", "/.well-known/masque/udp/127.1/443/"), 403);
}

#[test]
fn c46_connect_has_an_authority_and_nothing_else() {
    let connect = || vec![(":method", "CONNECT"), (":authority", "example.com:443")];
    assert_malformed(&with(connect(), ":scheme", "https"));
    assert_malformed(&with(connect(), ":path", "/"));
    assert_malformed(&without(connect(), ":authority"));
    assert_malformed(&with(connect(), "content-length", "1"));
    assert_refused(&with(connect(), ":authority", "example.com"), 400);
    assert_refused(&with(connect(), ":authority", ""), 400);
    assert_refused(&with(connect(), ":authority", "user@example.com:443"), 400);
    assert_refused(&with(connect(), ":authority", "2130706433:443"), 403);
}

#[test]
fn malformed_in_general() {
    let get =
        || vec![(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/")];
    assert!(read(&get()).is_ok());
    for name in [":method", ":scheme", ":authority", ":path"] {
        assert_malformed(&without(get(), name));
        let mut twice = get();
        twice.push(*twice.iter().find(|pair| pair.0 == name).unwrap());
        assert_malformed(&twice);
    }
    for (name, value) in [
        (":method", "GE T"),
        (":method", ""),
        (":path", "x"),
        (":path", "*"),
        (":path", "/a b"),
        (":path", "/a#b"),
        (":authority", "user@x"),
        (":status", "200"),
        (":unknown", "1"),
        ("host", "y"),
        ("content-length", "-1"),
        ("content-length", "+1"),
        ("content-length", "1, 1"),
        ("content-length", ""),
        ("content-length", "18446744073709551616"),
        ("connection", "close"),
        ("te", "gzip"),
        ("Accept", "x"),
        ("x", "a\nb"),
    ] {
        assert_malformed(&with(get(), name, value));
    }
    let mut lengths = get();
    lengths.extend([("content-length", "1"), ("content-length", "1")]);
    assert_malformed(&lengths);
    let mut late = get();
    late.insert(0, ("accept", "*/*"));
    assert_malformed(&late);
    assert_malformed(&[]);
}

#[test]
fn host_may_stand_for_the_authority_of_a_resource() {
    let pairs =
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "exit.example")];
    assert_eq!(read(&pairs).unwrap().authority, "exit.example");
    let options = [(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), ("host", "x")];
    assert!(read(&options).is_ok());
}

fn credential(name: &'static str, value: &'static str) -> Option<Credential> {
    read(&with(connect_udp(), name, value)).unwrap().credential
}

#[test]
fn c62_credentials_of_both_headers_and_both_schemes() {
    assert_eq!(read(&connect_udp()).unwrap().credential, None);
    for name in ["proxy-authorization", "authorization"] {
        let bearer = credential(name, "bEARER  abc.DEF-_~+/==").unwrap();
        assert_eq!(bearer.secret(), Some(&b"abc.DEF-_~+/=="[..]));
        // RFC 7617 §2: user "Aladdin", password "open sesame".
        let basic = credential(name, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").unwrap();
        let parts = Credential::Basic { user: b"Aladdin".into(), password: b"open sesame".into() };
        assert_eq!(basic, parts);
        assert_eq!(basic.secret(), Some(&b"open sesame"[..]));
        assert_eq!(credential(name, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"), Some(parts));
    }
}

#[test]
fn c62_what_is_not_understood_is_no_secret() {
    for value in [
        "",
        "Bearer",
        "Bearer a b",
        "Bearer =",
        "Bearer \u{e9}",
        "Digest abc",
        "Basic",
        "Basic !",
        "Basic QQ==",
        "Basic QTpC=",
        "Basic QTpCQ",
        "Basic QTr=",
        "BearerX abc",
    ] {
        let credential = credential("proxy-authorization", value).unwrap();
        assert_eq!(credential, Credential::Unsupported, "{value}");
        assert_eq!(credential.secret(), None);
    }
}

#[test]
fn c62_more_than_one_credential_is_refused() {
    for second in ["proxy-authorization", "authorization"] {
        let mut pairs = connect_udp();
        pairs.extend([("proxy-authorization", "Bearer a"), (second, "Bearer a")]);
        assert_refused(&pairs, 400);
    }
}

#[test]
fn credentials_are_not_printed() {
    let request = read(&with(connect_udp(), "authorization", "Bearer hunter2")).unwrap();
    assert!(!format!("{request:?}").contains("hunter2"));
    let basic = credential("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(!format!("{basic:?}").contains("sesame"));
}

#[test]
fn what_a_client_writes_is_read() {
    let templates = Templates::default();
    let auth = Some("Bearer abc");
    let connect = parse(&client::connect(&target(), auth), &templates).unwrap();
    assert_eq!(connect.kind, Kind::Connect(target()));
    assert_eq!(connect.credential, Some(Credential::Bearer("abc".into())));
    for template in &templates.0 {
        let section = client::connect_udp("exit.example", template, &target(), auth);
        let udp = parse(&section, &templates).unwrap();
        assert_eq!(udp.kind, Kind::ConnectUdp(target()));
        assert_eq!(udp.credential, Some(Credential::Bearer("abc".into())));
        assert!(udp.capsule_protocol);
    }
    let section = client::resource("GET", "exit.example", "/x", None, None);
    let resource = parse(&section, &templates).unwrap();
    let kind = Kind::Resource { method: "GET".into(), path: "/x".into(), content_length: None };
    assert_eq!((resource.kind, resource.credential), (kind, None));
}
