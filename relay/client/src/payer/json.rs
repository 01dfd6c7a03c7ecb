//! The JSON between client and relay. 64- and 128-bit integers are decimal strings, since JSON
//! numbers lose digits in many readers; bytes are `0x` hex.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weir_usage::{Address, Ask, ChannelId, Digest, Domain, Price, SignedVoucher, Voucher};

/// How much of a relay's error text is shown.
const ERROR_CHARS_MAX: usize = 300;

#[derive(Deserialize)]
struct AskBody {
    chain_id: Number,
    escrow: String,
    channel: String,
    lane: Number,
    price_per_gib: Number,
    seq: Number,
    up_bytes: Number,
    down_bytes: Number,
    amount: Number,
    usage_head: String,
    last: Option<LastBody>,
}

#[derive(Deserialize)]
struct LastBody {
    amount: Number,
    seq: Number,
    usage_head: String,
    signature: String,
}

/// A decimal string; small numbers are also understood as such.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Small(u64),
}

#[derive(Serialize)]
struct VoucherBody {
    channel: String,
    lane: u32,
    amount: String,
    seq: String,
    usage_head: String,
    signature: String,
    up_bytes: String,
    down_bytes: String,
}

/// The answer to `GET /.well-known/weir/usage`.
pub(super) fn parse_ask(body: &[u8]) -> Result<Ask, String> {
    let body: AskBody = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let domain = Domain {
        chain_id: body.chain_id.get("chain_id")?,
        escrow: hex::<Address>("escrow", &body.escrow)?,
    };
    let channel: ChannelId = hex("channel", &body.channel)?;
    let lane = body.lane.get("lane")?;
    let last = match body.last {
        None => None,
        Some(last) => Some(SignedVoucher {
            voucher: Voucher {
                channel,
                lane,
                amount: last.amount.get("last.amount")?,
                seq: last.seq.get("last.seq")?,
                usage_head: hex("last.usage_head", &last.usage_head)?,
            },
            signature: hex("last.signature", &last.signature)?,
        }),
    };
    let price = Price::new(body.price_per_gib.get("price_per_gib")?);
    Ok(Ask {
        domain,
        channel,
        lane,
        price: price.map_err(|error| error.to_string())?,
        seq: body.seq.get("seq")?,
        up_bytes: body.up_bytes.get("up_bytes")?,
        down_bytes: body.down_bytes.get("down_bytes")?,
        amount: body.amount.get("amount")?,
        usage_head: hex::<Digest>("usage_head", &body.usage_head)?,
        last,
    })
}

/// The body of `POST /.well-known/weir/voucher`.
pub(super) fn voucher(signed: &SignedVoucher, bytes: (u64, u64)) -> String {
    let body = VoucherBody {
        channel: signed.voucher.channel.to_string(),
        lane: signed.voucher.lane,
        amount: signed.voucher.amount.to_string(),
        seq: signed.voucher.seq.to_string(),
        usage_head: signed.voucher.usage_head.to_string(),
        signature: signed.signature.to_string(),
        up_bytes: bytes.0.to_string(),
        down_bytes: bytes.1.to_string(),
    };
    // A struct of strings and a number can always be written.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The `error` of an answer, for people; shortened, without control characters.
pub(crate) fn error_text(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: String,
    }
    let text = serde_json::from_slice(body)
        .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |body: ErrorBody| body.error);
    text.chars().filter(|c| !c.is_control()).take(ERROR_CHARS_MAX).collect()
}

impl Number {
    fn get<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let parsed = match self {
            Number::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse(),
            Number::Text(text) => return Err(format!("{name} is {text:?}, not a decimal number")),
            Number::Small(number) => number.to_string().parse(),
        };
        parsed.map_err(|_| format!("{name} is out of range"))
    }
}

fn hex<T: FromStr<Err = weir_usage::Error>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_ask_with_numbers_beyond_53_bits() {
        let word = format!("0x{}", "ab".repeat(32));
        let body = json!({
            "chain_id": "31337", "escrow": format!("0x{}", "11".repeat(20)), "channel": word,
            "lane": 3, "price_per_gib": "1000", "seq": "18446744073709551615",
            "up_bytes": "9007199254740993", "down_bytes": "0",
            "amount": "340282366920938463463374607431768211455", "usage_head": word,
            "last": { "amount": "1", "seq": "2", "usage_head": word,
                      "signature": format!("0x{}1b", "01".repeat(64)) },
        });
        let ask = parse_ask(body.to_string().as_bytes()).unwrap();
        assert_eq!(
            (ask.seq, ask.up_bytes, ask.amount),
            (u64::MAX, 9_007_199_254_740_993, u128::MAX)
        );
        assert_eq!(ask.last.unwrap().voucher.lane, 3);
        for (field, bad) in [
            ("seq", json!("-1")),
            ("seq", json!("18446744073709551616")),
            ("lane", json!("4294967296")),
            ("amount", json!("1e3")),
            ("amount", json!(1.5)),
            ("escrow", json!("0x11")),
            ("channel", json!("ab")),
            ("price_per_gib", json!("+1")),
            ("last", json!({})),
            ("usage_head", json!(null)),
        ] {
            let mut broken = body.clone();
            broken[field] = bad;
            assert!(parse_ask(broken.to_string().as_bytes()).is_err(), "{field}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_ask(&bytes);
            prop_assert!(error_text(&bytes).chars().count() <= ERROR_CHARS_MAX);
        }
    }
}
