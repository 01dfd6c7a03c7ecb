//! serde forms, for JSON and TOML: names, addresses and signatures as their text, amounts as
//! decimal strings, because 128 bits fit no number of either format.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::pedersen::{Blinder, Commitment};
use crate::{Address, ChannelId, Digest, ExitId, Signature, SlaId, StakeId};

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(Address, Blinder, ChannelId, Commitment, Digest, ExitId, Signature, SlaId, StakeId);

/// `#[serde(with = ...)]` for token units.
pub(crate) mod amount {
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(amount: &u128, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(amount)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        let text = String::deserialize(d)?;
        let digits = text.replace('_', "");
        // `parse` alone would take a sign.
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let amount = plain.then(|| digits.parse().ok()).flatten();
        amount.ok_or_else(|| D::Error::custom(format!("`{text}` is not a 128-bit amount")))
    }
}
