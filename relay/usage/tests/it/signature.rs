//! Vouchers and signatures: what the escrow pays for is accepted, and nothing else.

use k256::ecdsa;
use k256::elliptic_curve::ops::Neg;
use proptest::collection::vec;
use proptest::prelude::*;
use weir_usage::{
    Address, Ask, ChannelId, Digest, Domain, Error, Price, Signature, SigningKey, Voucher,
    keccak256,
};

use crate::random::{domain, voucher};

fn key(seed: &[u8]) -> SigningKey {
    SigningKey::from_bytes(&keccak256(seed).0).unwrap()
}

/// The other signature that belongs to the same key and digest: n - s and the other parity.
pub(crate) fn twin(signature: &Signature) -> Signature {
    let scalars = ecdsa::Signature::from_slice(&signature.0[..64]).unwrap();
    let high = ecdsa::Signature::from_scalars(scalars.r(), scalars.s().neg()).unwrap();
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&high.to_bytes());
    bytes[64] = 27 + 28 - signature.0[64];
    Signature(bytes)
}

/// Whom k256 takes for the signer; `None` for what the escrow contract refuses.
fn by_k256(signature: &Signature, digest: &[u8; 32]) -> Option<Address> {
    let parity = signature.0[64].checked_sub(27).filter(|parity| *parity <= 1)?;
    let scalars = ecdsa::Signature::from_slice(&signature.0[..64]).ok()?;
    if scalars.normalize_s().is_some() {
        return None;
    }
    let recovery = ecdsa::RecoveryId::new(parity == 1, false);
    let key = ecdsa::VerifyingKey::recover_from_prehash(digest, &scalars, recovery).ok()?;
    let hash = keccak256(&key.to_encoded_point(false).as_bytes()[1..]);
    Some(Address(hash.0[12..].try_into().ok()?))
}

/// The example of EIP-712: key keccak("cow"), the digest of its Mail message, and its signature.
#[test]
fn the_example_of_eip712() {
    let key = key(b"cow");
    let cow: Address = "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826".parse().unwrap();
    assert_eq!(key.address(), cow);
    let digest: Digest =
        "0xbe609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2".parse().unwrap();
    let signature = key.sign(&digest);
    assert_eq!(
        signature.to_string(),
        "0x4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d\
         07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b915621c"
    );
    assert_eq!(signature.to_string().parse(), Ok(signature));
    assert_eq!(signature.verify(&digest, cow), Ok(()));
}

proptest! {
    #[test]
    fn a_signed_voucher_names_its_signer(voucher in voucher(), domain in domain(), seed in any::<u64>()) {
        let key = key(&seed.to_be_bytes());
        let signed = voucher.sign(&domain, &key);
        prop_assert_eq!(signed.recover(&domain), Ok(key.address()));
        prop_assert_eq!(signed.verify(&domain, key.address()), Ok(()));
    }

    #[test]
    fn the_malleable_twin_is_refused(voucher in voucher(), domain in domain()) {
        let key = key(b"payer");
        let digest = voucher.digest(&domain);
        let signature = key.sign(&digest);
        let twin = twin(&signature);
        prop_assert_ne!(twin, signature);
        prop_assert_eq!(twin.recover(&digest), Err(Error::HighS));
    }

    /// Two independent libraries agree on every signature, whatever is done to it.
    #[test]
    fn the_signer_is_whom_another_library_finds(
        digest in any::<[u8; 32]>(),
        seed in any::<u64>(),
        flip in prop::option::of(0..65 * 8usize),
    ) {
        let mut signature = key(&seed.to_be_bytes()).sign(&Digest(digest));
        if let Some(bit) = flip {
            signature.0[bit / 8] ^= 1 << (bit % 8);
        }
        prop_assert_eq!(signature.recover(&Digest(digest)).ok(), by_k256(&signature, &digest));
    }

    /// A changed voucher, chain or contract is another message, so the recovered signer differs.
    #[test]
    fn nothing_can_be_changed_under_a_signature(
        voucher in voucher(),
        domain in domain(),
        changed in 0..7,
    ) {
        let key = key(b"payer");
        let mut signed = voucher.sign(&domain, &key);
        let mut elsewhere = domain;
        match changed {
            0 => signed.voucher.channel.0[0] ^= 1,
            1 => signed.voucher.lane ^= 1,
            2 => signed.voucher.amount ^= 1,
            3 => signed.voucher.seq ^= 1,
            4 => signed.voucher.usage_head.0[31] ^= 1,
            5 => elsewhere.chain_id ^= 1,
            _ => elsewhere.escrow.0[0] ^= 1,
        }
        let refused = signed.verify(&elsewhere, key.address());
        prop_assert!(
            matches!(refused, Err(Error::WrongSigner { .. } | Error::NotRecoverable)),
            "{refused:?}"
        );
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..100), digest in any::<[u8; 32]>()) {
        match Signature::from_slice(&bytes) {
            Ok(signature) => {
                let _ = signature.recover(&Digest(digest));
            }
            Err(error) => {
                prop_assert_eq!(error, Error::SignatureLength { length: bytes.len() });
                prop_assert_ne!(bytes.len(), 65);
            }
        }
    }

    #[test]
    fn an_amount_never_exceeds_the_exact_product(bytes in any::<u64>(), price in 0..1u128 << 64) {
        let amount = Price::new(price).unwrap().amount(bytes.into()).unwrap();
        // floor(x / 2^30) = amount, checked without dividing.
        let exact = u128::from(bytes).checked_mul(price).unwrap();
        prop_assert!(amount << 30 <= exact && exact - (amount << 30) < 1 << 30);
    }
}

#[test]
fn every_malformed_signature_has_its_own_error() {
    let digest = keccak256(b"message");
    let good = key(b"payer").sign(&digest);
    let with = |change: &dyn Fn(&mut [u8; 65])| {
        let mut bytes = good.0;
        change(&mut bytes);
        Signature(bytes).recover(&digest)
    };
    for v in [0, 1, 26, 29, 255] {
        assert_eq!(with(&|bytes| bytes[64] = v), Err(Error::RecoveryByte { v }));
    }
    assert_eq!(with(&|bytes| bytes[..32].fill(0)), Err(Error::ScalarRange));
    assert_eq!(with(&|bytes| bytes[32..64].fill(0)), Err(Error::ScalarRange));
    assert_eq!(with(&|bytes| bytes[..64].fill(0xff)), Err(Error::ScalarRange));
    // r = 5 is no x coordinate on the curve.
    let off_the_curve = with(&|bytes| {
        bytes[..32].fill(0);
        bytes[31] = 5;
    });
    assert_eq!(off_the_curve, Err(Error::NotRecoverable));
    let found = key(b"payer").address();
    let expected = key(b"somebody else").address();
    assert_eq!(good.verify(&digest, expected), Err(Error::WrongSigner { expected, found }));
}

#[test]
fn a_key_is_checked_and_never_shown() {
    assert_eq!(SigningKey::from_bytes(&[0; 32]).unwrap_err(), Error::BadKey);
    assert_eq!(SigningKey::from_bytes(&[0xff; 32]).unwrap_err(), Error::BadKey);
    let mut one = [0; 32];
    one[31] = 1;
    let key = SigningKey::from_bytes(&one).unwrap();
    // The address of private key 1.
    assert_eq!(format!("{key:?}"), "SigningKey(0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf)");
}

#[test]
fn a_payer_signs_the_smaller_count_of_each_direction() {
    let domain = Domain { chain_id: 1, escrow: Address([1; 20]) };
    let mut ask = Ask {
        domain,
        channel: ChannelId([2; 32]),
        lane: 3,
        price: Price::new(1 << 30).unwrap(),
        seq: 9,
        up_bytes: 100,
        down_bytes: 1_000,
        amount: 1_100,
        usage_head: Digest([4; 32]),
        last: None,
    };
    assert_eq!(ask.check_amount(), Ok(()));
    let (up, down) = ask.agreed(150, 900);
    let voucher = ask.voucher(up, down).unwrap();
    let expected = Voucher {
        channel: ask.channel,
        lane: 3,
        amount: 1_000,
        seq: 9,
        usage_head: ask.usage_head,
    };
    assert_eq!(((up, down), voucher), ((100, 900), expected));
    ask.amount += 1;
    assert_eq!(ask.check_amount(), Err(Error::AskAmount { asked: 1_101, computed: 1_100 }));
}
