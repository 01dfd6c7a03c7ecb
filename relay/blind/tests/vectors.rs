//! The examples of the RFCs.

use serde_json::Value;
use weir_blind::{Challenge, IssuerKey, Token, TokenChallenge, parse_token, write_challenge};

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn tokens_of_rfc_9578_verify() {
    let file = read(include_str!("vectors/rfc9578.json"));
    let key = IssuerKey::from_spki(&hex(&file["pkS"])).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let challenge = TokenChallenge::parse(&hex(&vector["token_challenge"])).unwrap();
        let token = Token::parse(&hex(&vector["token"])).unwrap();
        assert_eq!(token.challenge_digest, challenge.digest().unwrap());
        assert_eq!(token.nonce[..], hex(&vector["nonce"])[..]);
        assert_eq!(hex(&vector["token_request"])[2], key.truncated_id());
        key.verify(&token).unwrap();
        for at in [2, 40, 70, 98, 200, 353] {
            let mut bytes = token.to_bytes();
            bytes[at] ^= 1;
            assert!(key.verify(&Token::parse(&bytes).unwrap()).is_err(), "{at}");
        }
    }
}

#[test]
fn inputs_of_rfc_9577_are_built_alike() {
    let file = read(include_str!("vectors/rfc9577.json"));
    for vector in file["tokens"].as_array().unwrap() {
        let text = |key: &str| String::from_utf8(hex(&vector[key])).unwrap();
        let challenge = TokenChallenge {
            issuer_name: text("issuer_name"),
            redemption_context: hex(&vector["redemption_context"]).try_into().ok(),
            origin_info: text("origin_info"),
        };
        let token = Token {
            nonce: hex(&vector["nonce"]).try_into().unwrap(),
            challenge_digest: challenge.digest().unwrap(),
            key_id: hex(&vector["token_key_id"]).try_into().unwrap(),
            authenticator: [0; 256],
        };
        assert_eq!(token.input()[..], hex(&vector["token_authenticator_input"])[..]);
    }
}

#[test]
fn the_header_of_rfc_9577_is_read_and_written() {
    let header = read(include_str!("vectors/rfc9577.json"))["header"].clone();
    let value = header["WWW-Authenticate"].as_str().unwrap();
    let parsed = Challenge::parse(value).unwrap();
    let key = IssuerKey::from_spki(&hex(&header["token-key-0"])).unwrap();
    assert_eq!(parsed.key.as_ref(), Some(&key));
    assert_eq!(parsed.challenge.to_bytes().unwrap(), hex(&header["token-challenge-0"]));
    let written = write_challenge(&parsed.challenge, &key).unwrap();
    assert!(value.starts_with(&written), "{written}");
    assert_eq!(Challenge::parse(&written).unwrap(), parsed);
    assert!(parse_token(value).is_err());
}

#[test]
fn keys_in_other_encodings_are_refused() {
    let file = read(include_str!("vectors/rfc9578.json"));
    let good = hex(&file["pkS"]);
    let key = IssuerKey::from_spki(&good).unwrap();
    assert_eq!(IssuerKey::from_base64url(&key.to_base64url()).unwrap(), key);
    let modulus: [u8; 256] = good[81..337].try_into().unwrap();
    assert_eq!(IssuerKey::from_modulus(&modulus).unwrap(), key);
    for at in (0..81).chain([81, 336]).chain(337..good.len()) {
        let mut other = good.clone();
        // The first bit of the modulus, and the last.
        other[at] ^= if at == 81 { 0x80 } else { 1 };
        assert!(IssuerKey::from_spki(&other).is_err(), "{at}");
    }
    assert!(IssuerKey::from_spki(&good[..good.len() - 1]).is_err());
}
