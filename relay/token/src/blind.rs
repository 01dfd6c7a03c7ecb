//! Blinding and unblinding (RFC 9474 sections 4.2 and 4.4).

use num_bigint_dig::ModInverse as _;
use ring::rand::{SecureRandom, SystemRandom};
use rsa::BigUint;
use weir_blind::{IssuerKey, MODULUS_BYTES, TOKEN_TYPE, Token};

use crate::pss::{self, SALT_BYTES};
use crate::{Error, REQUEST_BYTES};

/// The exponent that all keys have ([`IssuerKey`]).
const EXPONENT: u32 = 65_537;

/// What a client keeps until the issuer has signed.
#[derive(Clone)]
pub struct Blinded {
    pub(crate) nonce: [u8; 32],
    pub(crate) challenge_digest: [u8; 32],
    /// The inverse of the blinding factor, big-endian: with it the issuer could recognise the
    /// token.
    pub(crate) inverse: [u8; MODULUS_BYTES],
}

impl std::fmt::Debug for Blinded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blinded(secret)")
    }
}

/// Makes a token's nonce, and the request to sign it.
///
/// # Errors
/// When the system has no randomness.
pub fn blind(
    key: &IssuerKey,
    challenge_digest: [u8; 32],
) -> Result<(Blinded, [u8; REQUEST_BYTES]), Error> {
    let random = SystemRandom::new();
    let fill = |bytes: &mut [u8]| {
        random.fill(bytes).map_err(|_| Error::Rsa("the system has no randomness".to_owned()))
    };
    let (mut nonce, mut salt) = ([0; 32], [0; SALT_BYTES]);
    fill(&mut nonce)?;
    fill(&mut salt)?;
    let modulus = modulus(key);
    loop {
        let mut factor = [0; MODULUS_BYTES];
        fill(&mut factor)?;
        let factor = BigUint::from_bytes_be(&factor);
        // Uniform below the modulus: what is above it is thrown away, not reduced.
        if factor >= modulus {
            continue;
        }
        if let Some(made) = blind_with(key, challenge_digest, nonce, &salt, &factor) {
            return Ok(made);
        }
    }
}

/// The same with given randomness; `None` for a factor that has no inverse.
fn blind_with(
    key: &IssuerKey,
    challenge_digest: [u8; 32],
    nonce: [u8; 32],
    salt: &[u8; SALT_BYTES],
    factor: &BigUint,
) -> Option<(Blinded, [u8; REQUEST_BYTES])> {
    let modulus = modulus(key);
    let inverse = factor.mod_inverse(&modulus)?.to_biguint()?;
    let blinded = Blinded { nonce, challenge_digest, inverse: fixed(&inverse) };
    let token = blinded.token(key, [0; MODULUS_BYTES]);
    let message = BigUint::from_bytes_be(&pss::encode(&token.input(), salt));
    let hidden = message * factor.modpow(&BigUint::from(EXPONENT), &modulus) % &modulus;
    let mut request = [0; REQUEST_BYTES];
    request[..2].copy_from_slice(&TOKEN_TYPE.to_be_bytes());
    request[2] = key.truncated_id();
    request[3..].copy_from_slice(&fixed(&hidden));
    Some((blinded, request))
}

impl Blinded {
    /// Makes the token of the issuer's response.
    ///
    /// # Errors
    /// A response that isn't this request's signature.
    pub fn finalize(&self, key: &IssuerKey, response: &[u8]) -> Result<Token, Error> {
        if response.len() != MODULUS_BYTES {
            return Err(Error::malformed("TokenResponse", "it has not 256 bytes"));
        }
        let modulus = modulus(key);
        let signed = BigUint::from_bytes_be(response) * BigUint::from_bytes_be(&self.inverse);
        let token = self.token(key, fixed(&(signed % modulus)));
        key.verify(&token)?;
        Ok(token)
    }

    fn token(&self, key: &IssuerKey, authenticator: [u8; MODULUS_BYTES]) -> Token {
        let (nonce, challenge_digest) = (self.nonce, self.challenge_digest);
        Token { nonce, challenge_digest, key_id: *key.id(), authenticator }
    }
}

fn modulus(key: &IssuerKey) -> BigUint {
    let end = key.spki().len() - 5;
    BigUint::from_bytes_be(&key.spki()[end - MODULUS_BYTES..end])
}

/// A number below the modulus, with leading zeros.
pub(crate) fn fixed(number: &BigUint) -> [u8; MODULUS_BYTES] {
    let bytes = number.to_bytes_be();
    let mut out = [0; MODULUS_BYTES];
    out[MODULUS_BYTES - bytes.len()..].copy_from_slice(&bytes);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Issuer;

    #[test]
    fn the_examples_of_rfc_9578_come_out() {
        let text = include_str!("../../blind/tests/vectors/rfc9578.json");
        let file: Value = serde_json::from_str(text).unwrap();
        let hex = |value: &Value| {
            let text = value.as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>()
        };
        let issuer = Issuer::from_pem(&String::from_utf8(hex(&file["skS"])).unwrap()).unwrap();
        assert_eq!(issuer.key().spki(), hex(&file["pkS"]));
        for vector in file["vectors"].as_array().unwrap() {
            let challenge = weir_blind::TokenChallenge::parse(&hex(&vector["token_challenge"]));
            let (blinded, request) = blind_with(
                issuer.key(),
                challenge.unwrap().digest().unwrap(),
                hex(&vector["nonce"]).try_into().unwrap(),
                &hex(&vector["salt"]).try_into().unwrap(),
                &BigUint::from_bytes_be(&hex(&vector["blind"])),
            )
            .unwrap();
            assert_eq!(request[..], hex(&vector["token_request"])[..]);
            let response = issuer.sign(&request).unwrap();
            assert_eq!(response[..], hex(&vector["token_response"])[..]);
            let token = blinded.finalize(issuer.key(), &response).unwrap();
            assert_eq!(token.to_bytes()[..], hex(&vector["token"])[..]);
            let mut wrong = response;
            wrong[200] ^= 1;
            assert!(blinded.finalize(issuer.key(), &wrong).is_err());
        }
    }
}
