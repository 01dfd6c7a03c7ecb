//! A client's tokens in a file, each taken once.
//!
//! One line per token: when its epoch begins and ends (seconds since 1970) and the token in
//! base64url. A token is removed, and that is synced, before it is handed out: a crash may lose
//! one, and never shows one twice, which would tie two connections together.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Token, base64url_decode, base64url_encode};

/// A token and when it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Seconds since 1970.
    pub start_s: u64,
    /// The first second at which it is not good any more, the exit's overlap aside.
    pub end_s: u64,
    pub token: Token,
}

/// A file of tokens, mode 0600. Several processes may use one.
#[derive(Clone, Debug)]
pub struct Wallet {
    path: PathBuf,
}

impl Wallet {
    /// The wallet in a file; it need not exist yet.
    pub fn new(path: &Path) -> Self {
        Wallet { path: path.to_owned() }
    }

    /// Puts tokens in.
    ///
    /// # Errors
    /// [`Error::Storage`], or a file that is no wallet.
    pub fn put(&self, entries: &[Entry]) -> Result<(), Error> {
        let _lock = self.lock()?;
        let mut all = self.read()?;
        all.extend_from_slice(entries);
        self.write(&all)
    }

    /// Takes a token that is good now, and drops those that are not good any more.
    ///
    /// # Errors
    /// As [`Wallet::put`].
    pub fn take(&self, now_s: u64) -> Result<Option<Token>, Error> {
        let _lock = self.lock()?;
        let mut all = self.read()?;
        all.retain(|entry| entry.end_s > now_s);
        let Some(at) = all.iter().position(|entry| entry.start_s <= now_s) else { return Ok(None) };
        let taken = all.remove(at);
        self.write(&all)?;
        Ok(Some(taken.token))
    }

    /// How many tokens are good now, and how many later.
    ///
    /// # Errors
    /// As [`Wallet::put`].
    pub fn count(&self, now_s: u64) -> Result<(usize, usize), Error> {
        let all = self.read()?;
        let later = all.iter().filter(|entry| entry.start_s > now_s).count();
        let over = all.iter().filter(|entry| entry.end_s <= now_s).count();
        Ok((all.len() - later - over, later))
    }

    fn read(&self) -> Result<Vec<Entry>, Error> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| self.failed("read", error))?,
        };
        let wrong = Error::malformed;
        let entry = |line: &str| {
            let mut words = line.split_whitespace();
            let (start, end) = (words.next(), words.next());
            let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
            let token = words.next().and_then(base64url_decode);
            Ok(Entry {
                start_s: number(start).ok_or(wrong("wallet", "a line has no begin"))?,
                end_s: number(end).ok_or(wrong("wallet", "a line has no end"))?,
                token: Token::parse(&token.ok_or(wrong("wallet", "a line has no token"))?)?,
            })
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(entry).collect()
    }

    fn write(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut text = String::new();
        for Entry { start_s, end_s, token } in entries {
            let token = base64url_encode(&token.to_bytes());
            text.push_str(&format!("{start_s} {end_s} {token}\n"));
        }
        let new = self.beside("new");
        let written = self.open(&new).and_then(|mut file| {
            file.set_len(0)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        });
        written.map_err(|error| self.failed("write", error))
    }

    fn lock(&self) -> Result<File, Error> {
        let locked = self.open(&self.beside("lock")).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        locked.map_err(|error| self.failed("lock", error))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Storage { doing, name: self.path.display().to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, start_s: u64, end_s: u64) -> Entry {
        let mut bytes = [number; crate::TOKEN_BYTES];
        bytes[..2].copy_from_slice(&[0, 2]);
        Entry { start_s, end_s, token: Token::parse(&bytes).unwrap() }
    }

    #[test]
    fn each_token_is_taken_once_and_in_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = Wallet::new(&dir.path().join("wallet"));
        assert_eq!(wallet.take(5).unwrap(), None);
        let (over, now, later) = (entry(1, 0, 5), entry(2, 0, 10), entry(3, 10, 20));
        wallet.put(&[over, now.clone()]).unwrap();
        wallet.put(std::slice::from_ref(&later)).unwrap();
        assert_eq!(wallet.count(5).unwrap(), (1, 1));
        assert_eq!(wallet.take(5).unwrap(), Some(now.token));
        assert_eq!(wallet.take(5).unwrap(), None);
        assert_eq!(wallet.take(10).unwrap(), Some(later.token));
        assert_eq!(wallet.count(10).unwrap(), (0, 0));
    }

    #[test]
    fn a_wallet_is_for_its_owner_and_nothing_else_is_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet");
        let wallet = Wallet::new(&path);
        wallet.put(&[entry(1, 0, 5)]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "key = 1\n").unwrap();
        assert!(wallet.take(0).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "key = 1\n");
    }
}
