//! What several endpoints said to one question, and what follows from it.

use crate::error::Error;

/// What is said in an alarm about one answer, in characters.
const WORDS_MAX: usize = 120;

/// Answers by the endpoint's place in the configuration.
#[derive(Debug)]
pub(super) struct Answers<T>(Vec<(usize, Result<T, Error>)>);

/// The outcome of a vote.
#[derive(Debug)]
pub(super) struct Vote<T> {
    pub(super) outcome: Outcome<T>,
    /// Who said something else than what is believed; everybody, if nothing is.
    pub(super) dissent: Vec<usize>,
    /// Who said what, if they differ.
    pub(super) said: Vec<(usize, String)>,
}

#[derive(Debug)]
pub(super) enum Outcome<T> {
    Agreed(T),
    Disagreed,
    /// Fewer than the quorum answered; with the first error there was.
    TooFew(usize, Option<Error>),
}

impl<T> Answers<T> {
    pub(super) fn new(answers: Vec<(usize, Result<T, Error>)>) -> Self {
        Self(answers)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|(_, answer)| answer.as_ref().ok())
    }

    /// Answers with the places of those who gave them.
    pub(super) fn named(&self) -> impl Iterator<Item = (usize, &T)> {
        self.0.iter().filter_map(|(index, answer)| Some((*index, answer.as_ref().ok()?)))
    }

    /// Without the answers of those who can't know.
    pub(super) fn only(self, knows: impl Fn(usize, &T) -> bool) -> Self {
        let keep = |(index, answer): &(usize, Result<T, Error>)| {
            answer.as_ref().map_or(true, |value| knows(*index, value))
        };
        Self(self.0.into_iter().filter(keep).collect())
    }

    /// A value counts if more than half of those who answered gave it, and at least `quorum` did.
    pub(super) fn vote(
        self,
        quorum: usize,
        same: impl Fn(&T, &T) -> bool,
        show: impl Fn(&T) -> String,
    ) -> Vote<T> {
        let mut values = Vec::new();
        let mut trouble = None;
        for (index, answer) in self.0 {
            match answer {
                Ok(value) => values.push((index, value)),
                Err(e) => drop(trouble.get_or_insert(e)),
            }
        }
        let answered = values.len();
        if answered < quorum {
            let outcome = Outcome::TooFew(answered, trouble);
            return Vote { outcome, dissent: Vec::new(), said: Vec::new() };
        }
        let votes = |one: &T| values.iter().filter(|(_, other)| same(one, other)).count();
        let elected = values.iter().position(|(_, value)| {
            let votes = votes(value);
            votes >= quorum && votes * 2 > answered
        });
        let against = |value: &T| !elected.is_some_and(|at| same(&values[at].1, value));
        let dissent: Vec<usize> =
            values.iter().filter(|(_, v)| against(v)).map(|(index, _)| *index).collect();
        let mut said = Vec::new();
        if !dissent.is_empty() {
            let words = |value: &T| show(value).chars().take(WORDS_MAX).collect();
            said = values.iter().map(|(index, value)| (*index, words(value))).collect();
        }
        let outcome = match elected {
            Some(at) => Outcome::Agreed(values.swap_remove(at).1),
            None => Outcome::Disagreed,
        };
        Vote { outcome, dissent, said }
    }

    /// The middle value; the lower of two.
    pub(super) fn middle(self) -> Outcome<T>
    where
        T: Ord,
    {
        let mut trouble = None;
        let mut values = Vec::new();
        for (_, answer) in self.0 {
            match answer {
                Ok(value) => values.push(value),
                Err(e) => drop(trouble.get_or_insert(e)),
            }
        }
        values.sort_unstable();
        match values.len() {
            0 => Outcome::TooFew(0, trouble),
            some => Outcome::Agreed(values.swap_remove((some - 1) / 2)),
        }
    }

    /// The first answer that is one.
    pub(super) fn first(self) -> Outcome<T> {
        let mut trouble = None;
        for (_, answer) in self.0 {
            match answer {
                Ok(value) => return Outcome::Agreed(value),
                Err(e) => drop(trouble.get_or_insert(e)),
            }
        }
        Outcome::TooFew(0, trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(quorum: usize, values: &[Option<u64>]) -> (Option<u64>, Vec<usize>) {
        let answer = |v: &Option<u64>| v.ok_or(Error::Stopping);
        let answers = Answers::new(values.iter().map(answer).enumerate().collect());
        let vote = answers.vote(quorum, PartialEq::eq, u64::to_string);
        let agreed = match vote.outcome {
            Outcome::Agreed(value) => Some(value),
            _ => None,
        };
        (agreed, vote.dissent)
    }

    #[test]
    fn a_minority_moves_no_middle() {
        let middle = |values: &[Option<u64>]| {
            let answer = |v: &Option<u64>| v.ok_or(Error::Stopping);
            let answers = Answers::new(values.iter().map(answer).enumerate().collect());
            match answers.middle() {
                Outcome::Agreed(value) => Some(value),
                _ => None,
            }
        };
        assert_eq!(middle(&[Some(5), Some(0), Some(6)]), Some(5));
        assert_eq!(middle(&[Some(5), Some(u64::MAX), Some(4)]), Some(5));
        assert_eq!(middle(&[Some(9), Some(2)]), Some(2), "the lower of two");
        assert_eq!(middle(&[None, Some(3), None]), Some(3));
        assert_eq!(middle(&[None]), None);
    }

    #[test]
    fn two_that_differ_are_both_doubted() {
        assert_eq!(vote(1, &[Some(1), Some(2)]), (None, vec![0, 1]));
        assert_eq!(vote(1, &[Some(1), Some(1)]), (Some(1), vec![]));
        assert_eq!(vote(1, &[Some(1), None]), (Some(1), vec![]), "silence is no dissent");
        assert_eq!(vote(2, &[Some(1), None]), (None, vec![]), "but no consent either");
    }

    #[test]
    fn a_minority_is_outvoted_and_named() {
        assert_eq!(vote(2, &[Some(9), Some(1), Some(1)]), (Some(1), vec![0]));
        assert_eq!(vote(2, &[Some(9), Some(1), Some(2)]), (None, vec![0, 1, 2]));
        assert_eq!(vote(2, &[Some(9), Some(1), None]), (None, vec![0, 1]));
        assert_eq!(vote(2, &[Some(1), Some(1), Some(2), Some(2)]), (None, vec![0, 1, 2, 3]));
    }
}
