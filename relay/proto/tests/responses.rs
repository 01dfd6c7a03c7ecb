//! Answers and Proxy-Status.

use weir_proto::response::{challenge, connected, connected_udp, failed, parse, refused, resource};
use weir_proto::{Error, Field, H3Code, ProxyError, ProxyStatus, Refusal};

fn value<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.name == name.as_bytes())?;
    Some(std::str::from_utf8(&field.value).unwrap())
}

#[test]
fn c10_capsule_protocol_is_on_success_only() {
    let status = ProxyStatus::of("exit-7.example");
    let udp = parse(&connected_udp(&status)).unwrap();
    assert_eq!((udp.status, udp.capsule_protocol), (200, true));
    assert_eq!(value(&connected_udp(&status), "content-length"), None);
    let tcp = connected(&status);
    assert_eq!(value(&tcp, ":status"), Some("200"));
    assert_eq!(value(&tcp, "content-length"), None, "a tunnel has no content");
    for failure in [
        failed(502, &status),
        challenge(407, "exit"),
        resource(200, "application/json", 2),
        refused(&Refusal { status: 400, error: None, details: "x" }, "exit"),
    ] {
        assert_eq!(value(&failure, "capsule-protocol"), None);
    }
}

#[test]
fn c29_dns_errors_name_their_code() {
    let status = ProxyStatus {
        error: Some(ProxyError::DnsError),
        rcode: Some("NXDOMAIN"),
        ..ProxyStatus::of("exit")
    };
    assert_eq!(status.value(), r#"exit;error=dns_error;rcode="NXDOMAIN""#);
    let timeout = ProxyStatus { error: Some(ProxyError::DnsTimeout), ..status };
    assert_eq!(timeout.value(), "exit;error=dns_timeout");
    assert_eq!((ProxyError::DnsError.status(), ProxyError::DnsTimeout.status()), (502, 504));
}

#[test]
fn c32_every_error_has_its_status() {
    let table = [
        ("dns_timeout", 504),
        ("dns_error", 502),
        ("destination_not_found", 500),
        ("destination_unavailable", 503),
        ("destination_ip_prohibited", 403),
        ("destination_ip_unroutable", 502),
        ("connection_refused", 502),
        ("connection_terminated", 502),
        ("connection_timeout", 504),
        ("connection_read_timeout", 504),
        ("connection_write_timeout", 504),
        ("connection_limit_reached", 503),
        ("http_request_error", 400),
        ("http_request_denied", 403),
        ("http_upgrade_failed", 502),
        ("proxy_internal_error", 500),
        ("proxy_configuration_error", 500),
        ("proxy_loop_detected", 502),
    ];
    let all: Vec<_> = ProxyError::ALL.iter().map(|error| (error.name(), error.status())).collect();
    assert_eq!(all, table);
}

#[test]
fn c33_success_names_the_next_hop() {
    let hop =
        |ip: &str| ProxyStatus { next_hop: Some(ip.parse().unwrap()), ..ProxyStatus::of("exit 7") };
    assert_eq!(hop("192.0.2.1").value(), r#""exit 7";next-hop="192.0.2.1""#);
    let fields = connected(&hop("2001:db8::1"));
    assert_eq!(value(&fields, "proxy-status"), Some(r#""exit 7";next-hop="2001:db8::1""#));
}

#[test]
fn refusals_tell_the_client_what_to_do() {
    let refusal = Refusal {
        status: 403,
        error: Some(ProxyError::DestinationIpProhibited),
        details: "write \"it\" out",
    };
    let fields = refused(&refusal, "exit");
    assert_eq!(value(&fields, ":status"), Some("403"));
    assert_eq!(
        value(&fields, "proxy-status"),
        Some(r#"exit;error=destination_ip_prohibited;details="write \"it\" out""#)
    );
    assert_eq!(value(&fields, "content-length"), Some("0"));
}

#[test]
fn c62_challenges_offer_both_schemes() {
    for (code, name) in [(407, "proxy-authenticate"), (401, "www-authenticate")] {
        let fields = challenge(code, "exit");
        let offers = fields.iter().filter(|field| field.name == name.as_bytes()).count();
        assert_eq!(offers, 2);
        assert_eq!(parse(&fields).unwrap().status, code);
    }
}

#[test]
fn responses_are_read_strictly() {
    let read = |pairs: &[(&'static str, &'static str)]| {
        parse(&pairs.iter().map(|(name, value)| Field::new(name, *value)).collect::<Vec<_>>())
    };
    let ok = read(&[(":status", "502"), ("proxy-status", "exit;error=dns_error")]).unwrap();
    assert_eq!(ok.proxy_status.as_deref(), Some("exit;error=dns_error"));
    for wrong in [
        &[][..],
        &[("x", "y")],
        &[(":status", "20")],
        &[(":status", "600")],
        &[(":status", "2x0")],
        &[(":status", "200"), (":status", "200")],
        &[("x", "y"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "200"), ("Server", "x")],
    ] {
        let result = read(wrong);
        assert!(
            matches!(result, Err(Error::Stream { code: H3Code::MESSAGE_ERROR, .. })),
            "{wrong:?}"
        );
    }
}
