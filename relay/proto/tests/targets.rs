//! Hosts, ports and URI templates.

use proptest::prelude::*;
use weir_proto::template::{Templates, UriTemplate};
use weir_proto::{Error, Host, ProxyError, Target};

fn status(result: Result<impl std::fmt::Debug, Error>) -> u16 {
    match result {
        Err(Error::Refused(refusal)) => refusal.status,
        other => panic!("not refused: {other:?}"),
    }
}

fn path(path: &str) -> Result<Target, Error> {
    Templates::default().match_path(path)
}

fn target(host: &str, port: u16) -> Target {
    Target { host: Host::parse(host).unwrap(), port }
}

#[test]
fn c26_default_template_and_its_query_form() {
    for (text, host, port) in [
        ("/.well-known/masque/udp/example.com/443/", "example.com", 443),
        ("/.well-known/masque/udp/192.0.2.6/1/", "192.0.2.6", 1),
        ("/.well-known/masque/udp?target_host=example.com&target_port=65535", "example.com", 65535),
        ("/.well-known/masque/udp?target_port=53&target_host=2001%3adb8%3A%3A1", "2001:db8::1", 53),
    ] {
        assert_eq!(path(text), Ok(target(host, port)), "{text}");
    }
}

#[test]
fn c26_other_paths_are_not_found() {
    for text in [
        "/",
        "/.well-known/masque/udp/",
        "/.well-known/masque/udp/example.com/443",
        "/.well-known/masque/udp/example.com/443/x",
        "/.well-known/masque/udp/example.com/443/?x=1",
        "/.well-known/masque/ip/*/*/",
        "/.well-known/masque/udp?h=example.com&p=443",
        "/.well-known/masque/udp?target_host=example.com&target_port=443&x=1",
    ] {
        assert_eq!(status(path(text)), 404, "{text}");
    }
    let missing = path("/.well-known/masque/udp?target_host=example.com");
    assert_eq!(status(missing), 400);
    let twice = path("/.well-known/masque/udp?target_host=a.example&target_host=b.example");
    assert_eq!(status(twice), 400);
}

#[test]
fn c27_ipv6_has_to_be_percent_encoded_and_has_no_zone() {
    let ok = path("/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/").unwrap();
    assert_eq!(ok, target("2001:db8::42", 443));
    for host in
        ["2001:db8::42", "%5B%3A%3A1%5D", "fe80%3A%3A1%25eth0", "fe80%3A%3A1%eth0", "%3A", "1%3A2"]
    {
        assert_eq!(status(path(&format!("/.well-known/masque/udp/{host}/443/"))), 400, "{host}");
    }
    let query = "/.well-known/masque/udp?target_port=53&target_host=2001%3Adb8::1";
    assert_eq!(status(path(query)), 400);
}

#[test]
fn c28_ports_hosts_and_double_encoding() {
    for port in ["0", "65536", "", "080x", "+80", "-1", "8 0", "99999999999999999999", "%30"] {
        let text = format!("/.well-known/masque/udp/example.com/{port}/");
        assert_eq!(status(path(&text)), 400, "{port:?}");
        let authority = format!("example.com:{port}");
        assert_eq!(status(Target::from_authority(&authority)), 400, "{port:?}");
    }
    assert_eq!(path("/.well-known/masque/udp/example.com/%34%34%33/").unwrap().port, 443);
    for host in
        ["", "example%252Ecom", "a%2", "a%zz", "%C3%A9.example", "%FF", "a%00", "a%20b", "a,b"]
    {
        assert_eq!(status(path(&format!("/.well-known/masque/udp/{host}/443/"))), 400, "{host:?}");
    }
    assert_eq!(
        path("/.well-known/masque/udp/example%2Ecom/443/").unwrap(),
        target("example.com", 443)
    );
}

#[test]
fn c30_odd_notations_of_ipv4_are_prohibited() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0X7F.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "1.2.3",
        "127.0.0.1.",
        "1.2.3.4.5",
        "256.0.0.1",
        "127.0.0.01",
        "0x",
        "a.1",
        "example.0xff",
    ] {
        let Err(Error::Refused(refusal)) = Host::parse(host) else { panic!("{host} is accepted") };
        assert_eq!(refusal.status, 403, "{host}");
        assert_eq!(refusal.error, Some(ProxyError::DestinationIpProhibited), "{host}");
    }
}

#[test]
fn addresses_are_canonical_and_left_to_the_exit_policy() {
    assert_eq!(Host::parse("127.0.0.1"), Ok(Host::Ip([127, 0, 0, 1].into())));
    let mapped = Host::parse("::FFFF:127.0.0.1").unwrap();
    assert_eq!(mapped.to_string(), "[::ffff:127.0.0.1]");
    assert_eq!(mapped, Host::parse("0:0:0:0:0:ffff:7f00:1").unwrap());
}

#[test]
fn names_are_lower_case_and_of_letters_digits_hyphens() {
    for (text, name) in [
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_dns.example", "_dns.example"),
        ("1e100.net", "1e100.net"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("4.example", "4.example"),
        ("0xg", "0xg"),
    ] {
        assert_eq!(Host::parse(text), Ok(Host::Name(name.into())), "{text}");
    }
    let long_label = "a".repeat(64);
    let long_name = ["a".repeat(63).as_str(); 4].join(".");
    for text in [
        "",
        ".",
        "a..b",
        ".a",
        "a..",
        "-a.example",
        "a-.example",
        "a b",
        "a/b",
        "a%b",
        "a@b",
        "a[b",
        "*.example",
        "bücher.example",
        "a\0",
        &long_label,
        &long_name,
    ] {
        assert_eq!(status(Host::parse(text)), 400, "{text:?}");
    }
    assert!(Host::parse(&long_name[2..]).is_ok(), "253 characters");
}

#[test]
fn c46_authorities_need_a_port() {
    assert_eq!(Target::from_authority("[2001:db8::1]:443"), Ok(target("2001:db8::1", 443)));
    assert_eq!(Target::from_authority("Example.com:80"), Ok(target("example.com", 80)));
    for text in [
        "",
        "example.com",
        ":443",
        "example.com:",
        "[::1]",
        "::1",
        "::1:443",
        "2001:db8::1:443",
        "[::1",
        "[::1:443",
        "[::1]x:443",
        "[fe80::1%eth0]:443",
        "[127.0.0.1]:443",
        "[]:443",
        "user@example.com:443",
        "example.com:443:443",
        "exa%6Dple.com:443",
        "https://example.com:443",
    ] {
        assert_eq!(status(Target::from_authority(text)), 400, "{text:?}");
    }
    assert_eq!(status(Target::from_authority("0x7f.1:443")), 403);
}

#[test]
fn templates_of_rfc_9298_are_understood() {
    let v6 = target("2001:db8::42", 443);
    for (template, expanded) in [
        (
            "https://example.org/.well-known/masque/udp/{target_host}/{target_port}/",
            "/.well-known/masque/udp/2001%3Adb8%3A%3A42/443/",
        ),
        (
            "https://proxy.example.org:4443/masque?h={target_host}&p={target_port}",
            "/masque?h=2001%3Adb8%3A%3A42&p=443",
        ),
        (
            "https://proxy.example.org:4443/masque{?target_host,target_port}",
            "/masque?target_host=2001%3Adb8%3A%3A42&target_port=443",
        ),
        (
            "/m?k=1{&target_port,target_host}",
            "/m?k=1&target_port=443&target_host=2001%3Adb8%3A%3A42",
        ),
    ] {
        let template = UriTemplate::parse(template).unwrap();
        assert_eq!(template.expand(&v6), expanded);
        assert_eq!(template.match_path(expanded), Some(Ok(v6.clone())));
    }
}

#[test]
fn templates_that_break_a_rule_are_the_operators_fault() {
    for template in [
        "",
        "masque/{target_host}/{target_port}",
        "http://example.org/{target_host}/{target_port}/",
        "https:///{target_host}/{target_port}/",
        "https://{target_host}/{target_port}/",
        "https://example.org",
        "/{target_host}/",
        "/{target_host}/{target_port}/{target_port}",
        "/{+target_host}/{target_port}/",
        "/{#target_host}/{target_port}/",
        "/{.target_host}/{target_port}/",
        "/{/target_host}/{target_port}/",
        "/{;target_host}/{target_port}/",
        "/{target_host,target_port}/",
        "/{target_host:3}/{target_port}/",
        "/{target_host}/{target_port}/{other}",
        "/{target_host}{target_port}",
        "/{target_host}-{target_port}",
        "/{target_host}/{target_port",
        "/{target_host}/target_port}/{target_port}",
        "/{}/{target_host}/{target_port}",
        "/a b/{target_host}/{target_port}",
        "/{target_host}/{target_port}/#x",
    ] {
        let result = UriTemplate::parse(template);
        assert!(matches!(result, Err(Error::Template { .. })), "{template}: {result:?}");
    }
}

fn any_target() -> impl Strategy<Value = Target> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Host::Ip(ip.into())),
        any::<[u16; 8]>().prop_map(|ip| Host::Ip(ip.into())),
        "[a-z0-9]{1,8}(\\.[a-z0-9_]{1,8}){0,3}\\.[a-z]{2,6}".prop_map(Host::Name),
    ];
    (host, 1..=u16::MAX).prop_map(|(host, port)| Target { host, port })
}

proptest! {
    #[test]
    fn what_is_expanded_is_matched(target in any_target()) {
        for template in Templates::default().0 {
            let path = template.expand(&target);
            prop_assert_eq!(template.match_path(&path), Some(Ok(target.clone())));
        }
        prop_assert_eq!(Target::from_authority(&target.to_string()), Ok(target));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", host in "[0-9a-fx.:%\\[\\]-]{0,20}") {
        let _ = path(&text);
        let _ = UriTemplate::parse(&text);
        let _ = Host::parse(&host);
        let _ = Target::from_authority(&host);
        let _ = path(&format!("/.well-known/masque/udp/{host}/443/"));
    }
}
