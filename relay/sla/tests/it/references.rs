//! References are read as people write them, and named by one hash.

use proptest::prelude::*;
use weir_sla::{Error, Kind, Reference, References};
use weir_usage::Digest;
use weir_usage::bond::SlaTerms;

use crate::common::terms;

fn list(texts: &[&str]) -> Result<References, Error> {
    References::new(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

#[test]
fn forms_and_what_is_wrong_with_others() {
    for text in ["echo://echo.example:7", "dns://192.0.2.53:53", "http://[2001:db8::1]:80/big?of=1"]
    {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
    }
    let same: Reference = "echo://[2001:DB8:0::1]:7".parse().unwrap();
    assert_eq!(same.to_string(), "echo://[2001:db8::1]:7");
    for (text, wrong) in [
        ("echo.example:7", "scheme"),
        ("https://a:443/", "neither"),
        ("echo://a", "port"),
        ("echo://a:0", "port"),
        ("echo://:7", "host"),
        ("echo://2001:db8::1:7", "host"),
        ("echo://a b:7", "host"),
        ("echo://a:7/x", "has a path"),
        ("http://a:80", "no path"),
        ("http://a:80/\r\nhost: b", "visible"),
    ] {
        let error = text.parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains(wrong), "{text:?}: {error}");
    }
    assert!(list(&["echo://a:7", "echo://A:7"]).unwrap_err().to_string().contains("twice"));
    let many: Vec<String> = (1..=17).map(|port| format!("echo://a:{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(list(&many).unwrap_err().to_string().contains("too many"));
    assert_eq!(list(&many[..16]).unwrap().of_kind(Kind::Echo).count(), 16);
}

#[test]
fn terms_name_them_by_their_hash() {
    let agreed = list(&["echo://a:7", "dns://b:53"]).unwrap();
    let terms = SlaTerms { references: agreed.hash(), ..terms() };
    assert_eq!(agreed.must_be_of(&terms), Ok(()));
    for other in [&["dns://b:53", "echo://a:7"][..], &["echo://a:7"], &[]] {
        let found = list(other).unwrap();
        let expected = terms.references;
        let error = Error::OtherReferences { expected, found: found.hash() };
        assert_eq!(found.must_be_of(&terms), Err(error));
    }
    // Nothing agreed: whatever the measurer thinks right.
    let none = SlaTerms { references: Digest::ZERO, ..terms };
    assert_eq!(agreed.must_be_of(&none), Ok(()));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_round_trips(text in "(echo|dns|http)://.{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        }
    }
}
