//! `[access.tokens]`.

use std::path::PathBuf;

use toml::de::DeValue;
use weir_blind::{Epochs, IssuerKey};

use super::reader::{FromToml, Section};
use super::value::{ByteSize, Hex32};
use super::{IssuerConfig, TokensConfig};

/// 60 bytes of memory each, for two epochs at most.
const PER_EPOCH_MAX: u32 = 1 << 24;

impl FromToml for IssuerKey {
    const WANTED: &'static str = "an issuer's public key, as `weir-token key` prints it";
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::from_toml(value)?;
        IssuerKey::from_base64url(&text).map_err(|error| error.to_string())
    }
}

pub(super) fn read(access: Section<'_>) -> Option<TokensConfig> {
    let section = access.section("tokens");
    let present = section.is_present();
    let length_s = section.ranged("epoch_s", 86_400, 60..31 * 86_400 + 1);
    let overlap_s = section.ranged("overlap_s", 3_600.min(length_s), 0..31 * 86_400 + 1);
    if overlap_s > length_s {
        let hint = "tokens of at most two epochs are taken at once";
        let reason = "is longer than an epoch".to_owned();
        section.reject("overlap_s", reason, Some(hint.to_owned()));
    }
    let tokens = TokensConfig {
        dir: section.or("dir", PathBuf::from("/var/lib/weir/tokens")),
        epochs: Epochs { length_s, overlap_s },
        bytes: section.or("bytes", ByteSize(1 << 30)).0,
        per_epoch: section.ranged("per_epoch", 1_000_000, 1..PER_EPOCH_MAX + 1),
        checks_per_s: section.ranged("checks_per_s", 5_000, 1..1_000_001),
        issuers: issuers(section.sections("issuer")),
    };
    if present && tokens.issuers.is_empty() && !section.has("issuer") {
        let hint = "add [[access.tokens.issuer]] with name, key and channel";
        let reason = "nobody's tokens would be taken".to_owned();
        section.reject("issuer", reason, Some(hint.to_owned()));
    }
    section.finish();
    access.finish();
    present.then_some(tokens)
}

fn issuers(sections: Vec<Section<'_>>) -> Vec<IssuerConfig> {
    let mut issuers: Vec<IssuerConfig> = Vec::new();
    for section in sections {
        let name: String = section.required("name", String::new());
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if section.has("name") && (name.is_empty() || name.len() > 253 || !name.bytes().all(good)) {
            let hint = "a host name: letters, digits, `-`, `.` or `_`";
            section.reject("name", "is not a name".to_owned(), Some(hint.to_owned()));
        }
        let channel = section.required("channel", Hex32([0; 32])).0;
        let lane = section.or("lane", 0);
        let key: Option<IssuerKey> = section.optional("key");
        if key.is_none() && !section.has("key") {
            let hint = "`weir-token key FILE` prints it";
            section.reject("key", "is missing".to_owned(), Some(hint.to_owned()));
        }
        if let Some(key) = key {
            if issuers.iter().any(|other| other.key == key) {
                section.reject("key", "another issuer has the same key".to_owned(), None);
            }
            issuers.push(IssuerConfig { name, key, channel, lane });
        }
        section.finish();
    }
    issuers
}
