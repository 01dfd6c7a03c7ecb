//! The payer's state file: own counts and the last voucher, written so that a crash at any moment
//! leaves the old or the new contents.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_usage::{SignedVoucher, Voucher};

use super::book::{Paid, Terms};
use crate::Error;

const VERSION: u32 = 1;

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Own cumulative count.
    pub(crate) up_bytes: u64,
    /// Own cumulative count.
    pub(crate) down_bytes: u64,
    /// Whether the process that wrote it stopped in order, so that the counts are final.
    pub(crate) clean: bool,
    pub(crate) paid: Option<Paid>,
    pub(crate) day: Day,
}

/// Where the budget of the day began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Day {
    /// UTC days since 1970; 0 before the first.
    pub(crate) number: u64,
    /// Signed before it, cumulative, in token units.
    pub(crate) before: u128,
}

/// The file and the lock that keeps a second client from it.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

/// Whose state it is; a file of another channel must not be taken for this one's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    chain_id: u64,
    escrow: String,
    channel: String,
    lane: u32,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    #[serde(flatten)]
    identity: Identity,
    up_bytes: u64,
    down_bytes: u64,
    clean: bool,
    voucher: Option<VoucherContents>,
    /// Files written before there was a budget have none.
    #[serde(default)]
    day: Option<DayContents>,
}

#[derive(Serialize, Deserialize)]
struct DayContents {
    number: u64,
    before: String,
}

#[derive(Serialize, Deserialize)]
struct VoucherContents {
    amount: String,
    seq: u64,
    usage_head: String,
    signature: String,
    up_bytes: u64,
    down_bytes: u64,
    accepted: bool,
}

impl StateFile {
    /// Reads the state, or starts an empty one if there is no file. A file that can't be
    /// understood is an error: guessing would risk paying twice.
    pub(crate) fn open(path: &Path, terms: &Terms) -> Result<(StateFile, State), Error> {
        let wrong = |problem: String| Error::file("payer state", path, problem);
        let lock_path = sibling(path, "lock");
        let lock = OpenOptions::new().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(|e| Error::file("payer state lock", &lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(wrong(
                    "is in use by another running client; one client per channel lane".into(),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(wrong(error.to_string())),
        }
        let identity = Identity {
            chain_id: terms.domain.chain_id,
            escrow: terms.domain.escrow.to_string(),
            channel: terms.channel.to_string(),
            lane: terms.lane,
        };
        let state = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(wrong(error.to_string())),
            Ok(bytes) => parse(&bytes, &identity, terms).map_err(wrong)?,
        };
        Ok((StateFile { path: path.to_owned(), identity, _lock: lock }, state))
    }

    /// Replaces the file; on disk when this returns.
    pub(crate) fn save(&self, state: &State) -> io::Result<()> {
        let voucher = state.paid.map(|paid| VoucherContents {
            amount: paid.signed.voucher.amount.to_string(),
            seq: paid.signed.voucher.seq,
            usage_head: paid.signed.voucher.usage_head.to_string(),
            signature: paid.signed.signature.to_string(),
            up_bytes: paid.bytes.0,
            down_bytes: paid.bytes.1,
            accepted: paid.accepted,
        });
        let contents = Contents {
            version: VERSION,
            identity: self.identity.clone(),
            up_bytes: state.up_bytes,
            down_bytes: state.down_bytes,
            clean: state.clean,
            voucher,
            day: Some(DayContents {
                number: state.day.number,
                before: state.day.before.to_string(),
            }),
        };
        let text = serde_json::to_string_pretty(&contents).map_err(io::Error::other)?;
        let temporary = sibling(&self.path, "new");
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn parse(bytes: &[u8], identity: &Identity, terms: &Terms) -> Result<State, String> {
    let contents: Contents = serde_json::from_slice(bytes).map_err(|error| {
        format!("is damaged ({error}); restore it, or move it away to start from the relay's copy")
    })?;
    if contents.version != VERSION {
        return Err(format!("has version {}, this client reads {VERSION}", contents.version));
    }
    if contents.identity != *identity {
        return Err(format!(
            "belongs to channel {} lane {} on chain {}; configure another state file",
            contents.identity.channel, contents.identity.lane, contents.identity.chain_id
        ));
    }
    let paid = match contents.voucher {
        None => None,
        Some(voucher) => {
            let paid = parse_voucher(&voucher, terms)?;
            paid.signed
                .verify(&terms.domain, terms.signer)
                .map_err(|error| format!("holds a voucher of another key: {error}"))?;
            Some(paid)
        }
    };
    let day = match contents.day {
        None => Day::default(),
        Some(day) => {
            let before = day.before.parse().map_err(|_| "holds a damaged amount".to_owned())?;
            Day { number: day.number, before }
        }
    };
    let (up_bytes, down_bytes) = (contents.up_bytes, contents.down_bytes);
    Ok(State { up_bytes, down_bytes, clean: contents.clean, paid, day })
}

fn parse_voucher(contents: &VoucherContents, terms: &Terms) -> Result<Paid, String> {
    let bad = |error: weir_usage::Error| format!("holds a damaged voucher: {error}");
    let amount = contents.amount.parse().map_err(|_| "holds a damaged amount".to_owned())?;
    let voucher = Voucher {
        channel: terms.channel,
        lane: terms.lane,
        amount,
        seq: contents.seq,
        usage_head: contents.usage_head.parse().map_err(bad)?,
    };
    let signature = contents.signature.parse().map_err(bad)?;
    let signed = SignedVoucher { voucher, signature };
    let bytes = (contents.up_bytes, contents.down_bytes);
    Ok(Paid { signed, bytes, accepted: contents.accepted })
}

fn sibling(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_usage::{Address, ChannelId, Digest, Domain, Price, SigningKey};

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32]).unwrap()
    }

    fn terms() -> Terms {
        Terms {
            domain: Domain { chain_id: 1, escrow: Address([1; 20]) },
            channel: ChannelId([2; 32]),
            lane: 3,
            price_max: Price::new(1).unwrap(),
            budget: crate::Budget::default(),
            signer: key().address(),
        }
    }

    fn state() -> State {
        let terms = terms();
        let voucher = Voucher {
            channel: terms.channel,
            lane: terms.lane,
            amount: u128::MAX,
            seq: 5,
            usage_head: Digest([4; 32]),
        };
        let signed = voucher.sign(&terms.domain, &key());
        let paid = Some(Paid { signed, bytes: (10, 20), accepted: true });
        let day = Day { number: 20_000, before: u128::MAX - 1 };
        State { up_bytes: u64::MAX, down_bytes: 20, clean: true, paid, day }
    }

    #[test]
    fn a_file_from_before_there_was_a_budget_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        StateFile::open(&path, &terms()).unwrap().0.save(&state()).unwrap();
        let text = std::fs::read(&path).unwrap();
        let mut old: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(old.as_object_mut().unwrap().remove("day").is_some());
        std::fs::write(&path, old.to_string()).unwrap();
        let expected = State { day: Day::default(), ..state() };
        assert_eq!(StateFile::open(&path, &terms()).unwrap().1, expected);
    }

    #[test]
    fn what_is_saved_is_read_back_and_a_missing_file_is_an_empty_unclean_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let (file, empty) = StateFile::open(&path, &terms()).unwrap();
        assert_eq!(empty, State::default());
        file.save(&state()).unwrap();
        let in_use = StateFile::open(&path, &terms()).unwrap_err().to_string();
        assert!(in_use.contains("another running client"), "{in_use}");
        drop(file);
        assert_eq!(StateFile::open(&path, &terms()).unwrap().1, state());
    }

    #[test]
    fn a_foreign_or_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        StateFile::open(&path, &terms()).unwrap().0.save(&state()).unwrap();
        let lane = Terms { lane: 4, ..terms() };
        let key = Terms { signer: Address([9; 20]), ..terms() };
        for (terms, text) in [(lane, "belongs to channel"), (key, "of another key")] {
            let error = StateFile::open(&path, &terms).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = StateFile::open(&path, &terms()).unwrap_err().to_string();
        assert!(error.contains("is damaged"), "{error}");
    }
}
