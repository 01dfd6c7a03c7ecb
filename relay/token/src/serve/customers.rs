//! Who may have tokens: `NAME SHA256-OF-BEARER-TOKEN QUOTA` on each line.

use std::io::Read as _;
use std::path::Path;

use ring::digest::{SHA256, digest};

use crate::Error;

/// 10,000 customers fit.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Customers(Vec<Customer>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Customer {
    pub(super) name: String,
    token_sha256: String,
    pub(super) quota: u64,
}

impl Customers {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { file: path.display().to_string(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        let wrong =
            |why: String| Error::malformed("customers", format!("{}: {why}", path.display()));
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(wrong(format!("longer than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut customers = Customers::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", index + 1);
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, hash, quota] = words[..] else {
                return Err(wrong("not `NAME SHA256 QUOTA`"));
            };
            if hash.len() != 64 || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(wrong(
                    "the SHA-256 of the bearer token has 64 hex digits, in lower case",
                ));
            }
            let quota = quota.parse().map_err(|_| wrong("the quota is not a number of tokens"))?;
            if customers.0.iter().any(|other| other.name == name || other.token_sha256 == hash) {
                return Err(wrong("the name or the token is another customer's already"));
            }
            let (name, token_sha256) = (name.to_owned(), hash.to_owned());
            customers.0.push(Customer { name, token_sha256, quota });
        }
        Ok(customers)
    }

    /// Whose token this is. What the time of the search tells is about hashes, which say nothing
    /// about a token.
    pub(super) fn find(&self, token: &str) -> Option<&Customer> {
        let hash = sha256_hex(token);
        self.0.iter().find(|customer| customer.token_sha256 == hash)
    }
}

pub(super) fn line(name: &str, token: &str, quota: u64) -> Result<String, Error> {
    if name.is_empty() || name.starts_with('#') || name.contains(char::is_whitespace) {
        return Err(Error::malformed("customer", "a name has no blanks, and no # in front"));
    }
    Ok(format!("{name} {} {quota}", sha256_hex(token)))
}

fn sha256_hex(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_customers_and_mistakes_name_their_line() {
        let alice = line("alice", "a-secret", 5).unwrap();
        let customers = Customers::parse(&format!("# ours\n\n  {alice}\n")).unwrap();
        let found = customers.find("a-secret").unwrap();
        assert_eq!((found.name.as_str(), found.quota), ("alice", 5));
        assert!(customers.find("another").is_none() && customers.find("").is_none());
        for (text, why) in [
            ("alice", "line 1: not"),
            (&format!("{alice}\nbob {} 1", "AB".repeat(32)), "line 2: the SHA-256"),
            (&format!("bob {} many", "ab".repeat(32)), "line 1: the quota"),
            (&format!("{alice}\n\n{alice}"), "line 3: the name"),
        ] {
            let said = Customers::parse(text).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
        assert!(line("al ice", "t", 1).is_err());
    }
}
