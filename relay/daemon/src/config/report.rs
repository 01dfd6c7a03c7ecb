//! What is wrong with a configuration: every mistake at once, each with its place and a way out.

use std::fmt;
use std::path::{Path, PathBuf};

/// At most so many mistakes are printed; a file with more is not a configuration file.
const SHOWN_MAX: usize = 50;

/// A place in the file, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `None` when the mistake is about the file as a whole.
    pub position: Option<Position>,
    pub message: String,
    pub hint: Option<String>,
}

/// All mistakes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub file: PathBuf,
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// An empty report about `file`.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), diagnostics: Vec::new() }
    }

    /// Adds a mistake.
    pub fn push(&mut self, position: Option<Position>, message: String, hint: Option<String>) {
        self.diagnostics.push(Diagnostic { position, message, hint });
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// `Err` with the mistakes in the order of the file, or `Ok` when there are none.
    pub fn into_result(mut self) -> Result<(), Self> {
        if self.is_empty() {
            return Ok(());
        }
        self.diagnostics.sort_by_key(|found| found.position);
        Err(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for found in self.diagnostics.iter().take(SHOWN_MAX) {
            match found.position {
                Some(at) => {
                    writeln!(f, "{file}:{}:{}: {}", at.line, at.column, found.message)?;
                }
                None => writeln!(f, "{file}: {}", found.message)?,
            }
            if let Some(hint) = &found.hint {
                writeln!(f, "    hint: {hint}")?;
            }
        }
        let total = self.diagnostics.len();
        if total > SHOWN_MAX {
            writeln!(f, "... and {} more", total - SHOWN_MAX)?;
        }
        write!(f, "{total} {} in {file}", if total == 1 { "error" } else { "errors" })
    }
}

impl std::error::Error for Report {}

/// Turns byte offsets of a text into positions.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text }
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The closest of `known` to `word`, if it is close enough to be a slip of the pen.
pub(super) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.len() / 4 && *distance < candidate.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut current = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let substituted = previous[j] + usize::from(ca != *cb);
            current.push(substituted.min(previous[j + 1] + 1).min(current[j] + 1));
        }
        previous = current;
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let lines = Lines::new("a\nü = 1\n");
        assert_eq!(lines.position(0), Position { line: 1, column: 1 });
        assert_eq!(lines.position("a\nü ".len()), Position { line: 2, column: 3 });
    }

    #[test]
    fn suggests_only_what_is_close() {
        let known = ["workers", "listen", "admin"];
        assert_eq!(did_you_mean("worker", known), Some("workers"));
        assert_eq!(did_you_mean("lissten", known), Some("listen"));
        assert_eq!(did_you_mean("colour", known), None);
    }
}
