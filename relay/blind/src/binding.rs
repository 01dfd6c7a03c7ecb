//! What a token of Weir is bound to: one exit and one epoch of it.
//!
//! Both go into the TokenChallenge, so that a token carries them in its challenge digest, signed:
//!
//! - `origin_info` is the exit: its 32-byte id as 64 hex digits in two labels of a name under
//!   `.invalid` (RFC 6761), `<32 digits>.<32 digits>.weir-exit.invalid`.
//! - `redemption_context` is SHA-256 over the ASCII text `weir blind access epoch v1`, the exit id
//!   (32 bytes), and the start and end of the epoch (seconds since 1970, 8 bytes each, big-endian).
//!
//! All tokens of an issuer for an exit and an epoch therefore have the same challenge. A client
//! can compute it without asking, and the challenge tells no two clients apart.

use crate::{TokenChallenge, sha256};

/// The id of an exit, as in its usage records.
pub type ExitId = [u8; 32];

const DOMAIN: &[u8] = b"weir blind access epoch v1";

/// The number of an epoch: seconds since 1970 divided by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// How an exit divides time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// Seconds of an epoch, at least 1.
    pub length_s: u64,
    /// Seconds after its end for which tokens of an epoch are still taken; at most its length.
    pub overlap_s: u64,
}

impl Epochs {
    /// The epoch at a time, in seconds since 1970.
    pub fn at(&self, unix_s: u64) -> Epoch {
        Epoch(unix_s / self.length_s.max(1))
    }

    /// The first and the last epoch whose tokens are good at a time: one or two.
    pub fn accepted(&self, unix_s: u64) -> (Epoch, Epoch) {
        let overlap_s = self.overlap_s.min(self.length_s);
        (self.at(unix_s.saturating_sub(overlap_s)), self.at(unix_s))
    }

    /// `[start, end)` of an epoch in seconds since 1970.
    pub fn span(&self, epoch: Epoch) -> (u64, u64) {
        let start = epoch.0.saturating_mul(self.length_s);
        (start, start.saturating_add(self.length_s))
    }
}

/// Everything that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub issuer_name: String,
    pub exit: ExitId,
    pub epochs: Epochs,
    pub epoch: Epoch,
}

impl Binding {
    /// The challenge that every token with this binding answers.
    pub fn challenge(&self) -> TokenChallenge {
        let (start, end) = self.epochs.span(self.epoch);
        TokenChallenge {
            issuer_name: self.issuer_name.clone(),
            redemption_context: Some(sha256(&[
                DOMAIN,
                &self.exit,
                &start.to_be_bytes(),
                &end.to_be_bytes(),
            ])),
            origin_info: origin_info(&self.exit),
        }
    }
}

fn origin_info(exit: &ExitId) -> String {
    let digits: String = exit.iter().map(|byte| format!("{byte:02x}")).collect();
    let (left, right) = digits.split_at(32);
    format!("{left}.{right}.weir-exit.invalid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            issuer_name: "issuer.example".to_owned(),
            exit: [0xab; 32],
            epochs: Epochs { length_s: 100, overlap_s: 10 },
            epoch: Epoch(7),
        }
    }

    #[test]
    fn another_exit_epoch_length_or_issuer_is_another_challenge() {
        let mut others = vec![binding(); 5];
        others[0].exit[31] ^= 1;
        others[1].epoch = Epoch(8);
        others[2].epochs.length_s = 101;
        others[3].issuer_name.push('x');
        // Not part of what is signed: an exit may become more lenient.
        others[4].epochs.overlap_s = 0;
        let digest = |binding: &Binding| binding.challenge().digest().unwrap();
        for other in &others[..4] {
            assert_ne!(digest(other), digest(&binding()), "{other:?}");
        }
        assert_eq!(digest(&others[4]), digest(&binding()));
    }

    #[test]
    fn the_encoding_stays_as_it_is_documented() {
        let challenge = binding().challenge();
        let label = "ab".repeat(16);
        assert_eq!(challenge.origin_info, format!("{label}.{label}.weir-exit.invalid"));
        let context = sha256(&[
            b"weir blind access epoch v1",
            &[0xab; 32],
            &[0, 0, 0, 0, 0, 0, 2, 188],
            &[0, 0, 0, 0, 0, 0, 3, 32],
        ]);
        assert_eq!(challenge.redemption_context, Some(context));
    }

    #[test]
    fn an_epoch_is_good_until_the_overlap_ends() {
        let epochs = binding().epochs;
        assert_eq!(epochs.accepted(699), (Epoch(6), Epoch(6)));
        assert_eq!(epochs.accepted(700), (Epoch(6), Epoch(7)));
        assert_eq!(epochs.accepted(709), (Epoch(6), Epoch(7)));
        assert_eq!(epochs.accepted(710), (Epoch(7), Epoch(7)));
        assert_eq!(epochs.span(Epoch(7)), (700, 800));
        let silly = Epochs { length_s: 0, overlap_s: u64::MAX };
        assert_eq!(silly.accepted(5), (Epoch(5), Epoch(5)));
    }
}
