//! Takes a TOML table apart key by key, and collects every problem with its place instead of
//! stopping at the first.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong with a configuration, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n    hint: {}", self.hint) }
    }
}

/// All problems of one text.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<Problem>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let before = &self.text[..span.start.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        self.found.push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            hint: hint.into(),
        });
    }

    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|p| (p.line, p.column));
        self.found
    }
}

/// One `[section]`, of which every key must be asked for before `finish`.
#[derive(Debug)]
pub(super) struct Section<'a, 'i> {
    name: String,
    span: Range<usize>,
    table: Option<&'a DeTable<'i>>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(name: &str, span: Range<usize>, table: Option<&'a DeTable<'i>>) -> Self {
        Self { name: name.into(), span, table, known: Vec::new() }
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// The place of a key's value, or of the section if the key isn't there.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.and_then(|t| t.get(key)).map_or(self.span(), Spanned::span)
    }

    /// A sub-table; an absent one reads as empty.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Section<'a, 'i> {
        self.known.push(key);
        let found = self.table.and_then(|t| t.get(key));
        let table = found.and_then(|v| v.get_ref().as_table());
        if let (Some(value), None) = (found, table) {
            problems.add(
                value.span(),
                format!("`{key}` must be a table"),
                format!("write [{key}]"),
            );
        }
        Section::new(key, found.map_or(self.span(), Spanned::span), table)
    }

    /// An array of tables (`[[key]]`).
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Vec<Section<'a, 'i>> {
        self.known.push(key);
        let Some(found) = self.table.and_then(|t| t.get(key)) else { return Vec::new() };
        let Some(array) = found.get_ref().as_array() else {
            problems.add(
                found.span(),
                format!("`{key}` must be an array of tables"),
                format!("write [[{key}]]"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for value in array.iter() {
            match value.get_ref().as_table() {
                Some(table) => sections.push(Section::new(key, value.span(), Some(table))),
                None => problems.add(
                    value.span(),
                    format!("`{key}` must hold tables"),
                    format!("write [[{key}]]"),
                ),
            }
        }
        sections
    }

    /// A key that may be left out.
    pub(super) fn optional<T: Value>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        match T::read(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                problems.add(value.span(), format!("`{key}`: {why}"), T::FORM);
                None
            }
        }
    }

    /// A key with a default.
    pub(super) fn or<T: Value>(
        &mut self,
        key: &'static str,
        default: T,
        problems: &mut Problems<'_>,
    ) -> T {
        self.optional(key, problems).unwrap_or(default)
    }

    /// A key that must be there. `None` means that a problem was noted.
    pub(super) fn required<T: Value>(
        &mut self,
        key: &'static str,
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        if self.table.and_then(|t| t.get(key)).is_none() {
            let place = if self.name.is_empty() { "at the top".into() } else { self.title() };
            problems.add(self.span(), format!("`{key}` is missing {place}"), T::FORM);
        }
        self.optional(key, problems)
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self.known.iter().min_by_key(|known| distance(known, name));
            let hint = match nearest {
                Some(known) if distance(known, name) <= 3 => format!("did you mean `{known}`?"),
                _ => format!("known keys: {}", self.known.join(", ")),
            };
            problems.add(key.span(), format!("unknown key `{name}` {}", self.title()), hint);
        }
    }

    fn title(&self) -> String {
        if self.name.is_empty() { "at the top".into() } else { format!("in [{}]", self.name) }
    }
}

/// A type that a TOML value can be read as.
pub(super) trait Value: Sized {
    /// The form that is expected, as a hint.
    const FORM: &'static str;
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

fn wrong_type(value: &DeValue<'_>, expected: &str) -> String {
    format!("expected {expected}, found {}", value.type_str())
}

impl Value for u64 {
    const FORM: &'static str = "a whole number, zero or more";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let integer = value.as_integer().ok_or_else(|| wrong_type(value, "an integer"))?;
        Self::from_str_radix(integer.as_str(), integer.radix()).map_err(|e| e.to_string())
    }
}

impl Value for bool {
    const FORM: &'static str = "true or false";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wrong_type(value, "true or false"))
    }
}

impl Value for u32 {
    const FORM: &'static str = "a whole number below 2^32";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::try_from(u64::read(value)?).map_err(|_| "too large".into())
    }
}

/// An amount of token units: an integer, or a decimal string where it exceeds 63 bits.
impl Value for u128 {
    const FORM: &'static str = "token units in the smallest unit, such as \"1000000\"";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match (value.as_str(), value.as_integer()) {
            (Some(text), _) => text.replace('_', "").parse().map_err(|e| format!("{e}")),
            (None, Some(i)) => {
                Self::from_str_radix(i.as_str(), i.radix()).map_err(|e| e.to_string())
            }
            _ => Err(wrong_type(value, "an integer or a decimal string")),
        }
    }
}

impl Value for String {
    const FORM: &'static str = "a string";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong_type(value, "a string"))
    }
}

impl Value for std::path::PathBuf {
    const FORM: &'static str = "a path in quotes";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
    }
}

impl Value for std::net::SocketAddr {
    const FORM: &'static str = "an address and port in quotes, such as \"127.0.0.1:9610\"";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        from_text(value)
    }
}

impl Value for crate::keys::Secret {
    const FORM: &'static str = "a path, or \"credential:NAME\" of systemd";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        from_text(value)
    }
}

impl Value for weir_usage::Address {
    const FORM: &'static str = "0x and 40 hexadecimal digits";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        from_text(value)
    }
}

impl Value for weir_usage::ChannelId {
    const FORM: &'static str = "0x and 64 hexadecimal digits";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        from_text(value)
    }
}

impl Value for weir_usage::ExitId {
    const FORM: &'static str = "0x and 64 hexadecimal digits; make one with `openssl rand -hex 32`";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        from_text(value)
    }
}

impl Value for weir_usage::Digest {
    const FORM: &'static str = "0x and 64 hexadecimal digits";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        from_text(value)
    }
}

impl<T: Value> Value for Vec<T> {
    const FORM: &'static str = T::FORM;
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let array = value.as_array().ok_or_else(|| wrong_type(value, "an array"))?;
        array.iter().map(|v| T::read(v.get_ref())).collect()
    }
}

/// A string, or an array of them.
pub(super) struct OneOrMore(pub(super) Vec<String>);

impl Value for OneOrMore {
    const FORM: &'static str = "a string, or several in [ ]";
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str() {
            Some(one) => Ok(Self(vec![one.to_owned()])),
            None => Vec::read(value).map(Self),
        }
    }
}

fn from_text<T: FromStr<Err: fmt::Display>>(value: &DeValue<'_>) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| wrong_type(value, "a string"))?;
    text.parse().map_err(|e| format!("`{text}`: {e}"))
}

/// Edit distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
