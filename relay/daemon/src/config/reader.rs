//! Reads a TOML table key by key, remembers which keys exist, and collects every mistake.
//!
//! A mistake never stops the reading: the caller gets a default instead and the report gets an
//! entry, so one run of `weir check` shows all there is to fix.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Lines, Position, Report, did_you_mean};

/// What all sections of one file share.
#[derive(Debug)]
pub(super) struct Context<'a> {
    lines: Lines<'a>,
    report: RefCell<Report>,
    /// Where each value was given, by its path (`tls.cert`, `grant.0.channel`).
    places: RefCell<BTreeMap<String, Position>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, report: Report) -> Self {
        Self { lines: Lines::new(text), report: RefCell::new(report), places: RefCell::default() }
    }

    /// Reports a mistake at a span of the text.
    pub(super) fn error(&self, span: Option<Range<usize>>, message: String, hint: Option<String>) {
        let position = span.map(|span| self.lines.position(span.start));
        self.report.borrow_mut().push(position, message, hint);
    }

    pub(super) fn finish(self) -> (Report, BTreeMap<String, Position>) {
        (self.report.into_inner(), self.places.into_inner())
    }
}

/// A value that can stand in the file.
pub(super) trait FromToml: Sized {
    /// What to write, for the message: "a string", "a port (0 to 65535)".
    const WANTED: &'static str;
    /// The error says what is wrong in the reader's words.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String>;
}

/// One table of the file; an absent one reads like an empty one.
#[derive(Debug)]
pub(super) struct Section<'a> {
    context: &'a Context<'a>,
    path: String,
    table: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(context: &'a Context<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            context,
            path: String::new(),
            table: Some(table.get_ref()),
            span: None,
            known: RefCell::default(),
        }
    }

    /// The sub-table `key`, whether or not it is there.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let found = self.value(key);
        let table = match found.map(|value| (value.get_ref(), value.span())) {
            Some((DeValue::Table(table), _)) => Some(table),
            Some((other, span)) => {
                self.wrong_type(key, span, "a table", other);
                None
            }
            None => None,
        };
        self.child(key.to_owned(), table, found.map(Spanned::span))
    }

    /// The array of tables `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong_type(key, found.span(), "an array of tables ([[...]])", found.get_ref());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let name = format!("{key}.{index}");
                    sections.push(self.child(name, Some(table), Some(item.span())));
                }
                other => self.wrong_type(key, item.span(), "a table", other),
            }
        }
        sections
    }

    /// The table stands in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The value of `key`, if it is given.
    pub(super) fn optional<T: FromToml>(&self, key: &'static str) -> Option<T> {
        let found = self.value(key)?;
        match T::from_toml(found.get_ref()) {
            Ok(value) => Some(value),
            Err(reason) => {
                let message = format!("{}: {reason}", self.full(key));
                let hint = format!("write {}", T::WANTED);
                self.context.error(Some(found.span()), message, Some(hint));
                None
            }
        }
    }

    /// The value of `key`, or `default`.
    pub(super) fn or<T: FromToml>(&self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value of `key` within a range, or `default`.
    pub(super) fn ranged<T>(&self, key: &'static str, default: T, range: Range<T>) -> T
    where
        T: FromToml + PartialOrd + Display + Copy,
    {
        let value = self.or(key, default);
        if range.contains(&value) {
            return value;
        }
        let hint = format!("at least {} and less than {}", range.start, range.end);
        self.reject(key, format!("{value} is out of range"), Some(hint));
        default
    }

    /// The value of `key`; when it is missing, that is reported and `placeholder` stands in until
    /// the report refuses the file.
    pub(super) fn required<T: FromToml>(&self, key: &'static str, placeholder: T) -> T {
        if self.value(key).is_none() {
            let message = format!("{} is missing", self.full(key));
            let hint = format!("write `{key} = ...` with {}", T::WANTED);
            self.context.error(self.span.clone(), message, Some(hint));
        }
        self.optional(key).unwrap_or(placeholder)
    }

    /// The items of an array, each reported on its own; a missing key is an empty array.
    pub(super) fn list<T: FromToml>(&self, key: &'static str) -> Vec<T> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = found.get_ref() else {
            self.wrong_type(key, found.span(), "an array", found.get_ref());
            return Vec::new();
        };
        let mut list = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let position = self.context.lines.position(item.span().start);
            let place = format!("{}.{index}", self.full(key));
            self.context.places.borrow_mut().insert(place, position);
            match T::from_toml(item.get_ref()) {
                Ok(value) => list.push(value),
                Err(reason) => {
                    let message = format!("{}: {reason}", self.full(key));
                    let hint = format!("write {}", T::WANTED);
                    self.context.error(Some(item.span()), message, Some(hint));
                }
            }
        }
        list
    }

    /// The key stands in the file, with a good value or a bad one.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Reports that the value of `key` can't be used; at the section if the key isn't given.
    pub(super) fn reject(&self, key: &'static str, reason: String, hint: Option<String>) {
        let span = self.value(key).map(Spanned::span).or(self.span.clone());
        self.context.error(span, format!("{}: {reason}", self.full(key)), hint);
    }

    /// Reports every key that nobody asked for. Call it last.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let place = match self.path.as_str() {
                "" => "at the top level".to_owned(),
                path => format!("in [{path}]"),
            };
            let hint = match did_you_mean(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known keys: {}", known.join(", ")),
            };
            let message = format!("unknown key `{name}` {place}");
            self.context.error(Some(key.span()), message, Some(hint));
        }
    }

    fn child(
        &self,
        name: String,
        table: Option<&'a DeTable<'a>>,
        span: Option<Range<usize>>,
    ) -> Section<'a> {
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        Section { context: self.context, path, table, span, known: RefCell::default() }
    }

    fn value(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.borrow().contains(&key) {
            self.known.borrow_mut().push(key);
        }
        let found = self.table?.get(key)?;
        let position = self.context.lines.position(found.span().start);
        self.context.places.borrow_mut().insert(self.full(key), position);
        Some(found)
    }

    fn wrong_type(&self, key: &str, span: Range<usize>, wanted: &str, found: &DeValue<'_>) {
        let message = format!("{}: expected {wanted}, found {}", self.full(key), name_of(found));
        self.context.error(Some(span), message, None);
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The TOML name of what a value is, with its article.
pub(super) fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a datetime",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
