//! How like the operator's own engine another one answered, and what that says. Pure.
//!
//! The rule, in this order:
//! 1. Where both tell likelihoods, those of the tokens that both said may differ by
//!    [`DIFFERENCE_MILLI`] in the mean; more is another model.
//! 2. An answer that follows the reference for [`AGREEMENT_MILLI`] of its words is the same model.
//! 3. One that departs earlier says nothing where the reference itself was undecided
//!    ([`UNDECIDED_MILLI`]): other hardware adds in another order, and there that is enough to turn a
//!    word, after which everything differs.
//! 4. One that departs where the reference was sure is another model.

use std::fmt;

use super::Answer;
use super::likelihoods::Token;

/// Least part of the reference's words with which an answer must begin, in thousandths.
const AGREEMENT_MILLI: u32 = 500;

/// Most that likelihoods of the same tokens may differ in the mean, in thousandths of a nat. The
/// same weights on other hardware differ by some hundredths, and heavily quantised ones by some
/// tenths.
const DIFFERENCE_MILLI: u32 = 300;

/// Nearest that the likelihood of another token comes, in thousandths of a nat, for the reference to
/// count as sure of its own.
const UNDECIDED_MILLI: u32 = 700;

/// What an answer says about the model behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the same.
    Same,
    /// It is another one.
    Other,
    /// It could be either.
    Unsure,
}

/// How like the reference an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likeness {
    /// How much of the reference's words it begins with, in thousandths.
    pub agreement_milli: u32,
    /// Mean difference of the likelihoods of the tokens that both said, in thousandths of a nat; none
    /// where not both tell them.
    pub difference_milli: Option<u32>,
    /// How much less likely the reference held the token with which the answer departs, in
    /// thousandths of a nat; none where it does not depart or that token was not among the likely.
    pub gap_milli: Option<u32>,
}

impl Likeness {
    /// Compares an answer with the reference's.
    #[must_use]
    pub fn of(reference: &Answer, answer: &Answer) -> Self {
        let pairs = reference.text.chars().zip(answer.text.chars());
        let same = pairs.take_while(|(one, other)| one == other).count() as u64;
        let all = (reference.text.chars().count() as u64).max(1);
        let agreement_milli = u32::try_from(same * 1_000 / all).unwrap_or(1_000);
        let (known, told) = (&reference.tokens, &answer.tokens);
        let shared = known.iter().zip(told).take_while(|(one, other)| one.bytes == other.bytes);
        let differences: Vec<f64> =
            shared.map(|(one, other)| (one.logprob - other.logprob).abs()).collect();
        #[expect(clippy::cast_precision_loss, reason = "some dozens of tokens")]
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        Self {
            agreement_milli,
            difference_milli: (!differences.is_empty()).then(|| milli(mean(&differences))),
            gap_milli: match told.is_empty() {
                false => gap_of_token(known, told, differences.len()),
                true => gap_of_text(known, &answer.text),
            },
        }
    }

    /// What that says about the model, by the rule of this module.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.difference_milli.is_some_and(|difference| difference > DIFFERENCE_MILLI) {
            return Verdict::Other;
        }
        if self.agreement_milli >= AGREEMENT_MILLI {
            return Verdict::Same;
        }
        match self.gap_milli {
            Some(gap) if gap <= UNDECIDED_MILLI => Verdict::Unsure,
            _ => Verdict::Other,
        }
    }
}

impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of 1000 of the words agree", self.agreement_milli)?;
        if let Some(milli) = self.difference_milli {
            write!(f, ", likelihoods differ by {}.{:03}", milli / 1_000, milli % 1_000)?;
        }
        Ok(())
    }
}

/// How far the answer's token lies behind the reference's own at the place where they part.
fn gap_of_token(known: &[Token], told: &[Token], at: usize) -> Option<u32> {
    let (one, other) = (known.get(at)?, told.get(at)?);
    gap(one, |rival| rival == other.bytes)
}

/// The same by the answer's words alone: the place is the first token of the reference that they do
/// not go on with.
fn gap_of_text(known: &[Token], text: &str) -> Option<u32> {
    let mut said = Vec::new();
    for token in known {
        let before = said.len();
        said.extend_from_slice(&token.bytes);
        let whole = match std::str::from_utf8(&said) {
            Ok(_) => said.len(),
            // The rest of a cut character comes with the next token.
            Err(cut) if cut.error_len().is_none() => cut.valid_up_to(),
            // No text: which of its bytes the answer's words stand for cannot be known.
            Err(_) => return None,
        };
        if !text.as_bytes().starts_with(&said[..whole]) {
            let rest = text.as_bytes().get(before..)?;
            return gap(token, |rival| {
                !rival.is_empty() && rival != token.bytes && rest.starts_with(rival)
            });
        }
    }
    None
}

fn gap(own: &Token, is_it: impl Fn(&[u8]) -> bool) -> Option<u32> {
    let likely = own.rivals.iter().filter(|(rival, _)| is_it(rival)).map(|(_, logprob)| *logprob);
    let likeliest = likely.max_by(f64::total_cmp)?;
    Some(milli(own.logprob - likeliest))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded on both sides"
)]
fn milli(nats: f64) -> u32 {
    (nats * 1_000.0).clamp(0.0, 1_000_000.0).round() as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A word, its likelihood, and what else was likely in its place.
    type Word<'a> = (&'a str, f64, &'a [(&'a str, f64)]);

    fn answer(words: &[Word<'_>]) -> Answer {
        let tokens = words.iter().map(|(word, logprob, rivals)| Token {
            bytes: word.as_bytes().to_vec(),
            logprob: *logprob,
            rivals: rivals
                .iter()
                .map(|(text, likely)| (text.as_bytes().to_vec(), *likely))
                .collect(),
        });
        let text = words.iter().map(|(word, ..)| *word).collect();
        Answer { text, tokens: tokens.collect(), first: Duration::ZERO }
    }

    fn silent(text: &str) -> Answer {
        Answer { text: text.to_owned(), ..Answer::default() }
    }

    /// Sure of every word but the second, where "brook" was nearly as likely.
    fn reference() -> Answer {
        answer(&[
            ("A", -0.1, &[("A", -0.1), ("The", -3.0)]),
            (" river", -0.9, &[(" river", -0.9), (" brook", -1.0), (" br", -4.0)]),
            (" runs", -0.2, &[(" runs", -0.2), (" flows", -2.5)]),
            (" past", -0.3, &[(" past", -0.3), (" by", -0.8)]),
            (" the", -0.1, &[(" the", -0.1)]),
            (" old bridge", -0.4, &[(" old bridge", -0.4)]),
        ])
    }

    #[test]
    fn the_same_words_are_the_same_model_with_and_without_likelihoods() {
        let reference = reference();
        assert_eq!(Likeness::of(&reference, &reference).verdict(), Verdict::Same);
        let likeness = Likeness::of(&reference, &silent("A river runs past the old bridge"));
        let whole = Likeness { agreement_milli: 1_000, difference_milli: None, gap_milli: None };
        assert_eq!((likeness, likeness.verdict()), (whole, Verdict::Same));
        let late = Likeness::of(&reference, &silent("A river runs past by the old bridge"));
        assert_eq!(late.verdict(), Verdict::Same, "{late:?}");
    }

    #[test]
    fn a_departure_is_honest_only_where_the_reference_was_undecided() {
        let reference = reference();
        let verdict = |text: &str| Likeness::of(&reference, &silent(text)).verdict();
        assert_eq!(verdict("A brook runs past the old bridge"), Verdict::Unsure);
        assert_eq!(verdict("The river runs past the old bridge"), Verdict::Other);
        assert_eq!(verdict("A river flows past the old bridge"), Verdict::Other);
        assert_eq!(
            verdict("A stream runs past the old bridge"),
            Verdict::Other,
            "not likely at all"
        );
        assert_eq!(verdict("A"), Verdict::Other, "cut short");
        assert_eq!(verdict(""), Verdict::Other);
        // With its own likelihoods the token is known and need not be guessed from the words.
        let brook = answer(&[("A", -0.1, &[]), (" brook", -0.9, &[])]);
        let likeness = Likeness::of(&reference, &brook);
        assert_eq!((likeness.gap_milli, likeness.verdict()), (Some(100), Verdict::Unsure));
    }

    #[test]
    fn honest_jitter_passes_and_the_same_words_by_another_model_do_not() {
        let reference = reference();
        let shifted = |by: &[f64]| {
            let mut other = reference.clone();
            for (token, by) in other.tokens.iter_mut().zip(by.iter().cycle()) {
                token.logprob += by;
            }
            Likeness::of(&reference, &other)
        };
        let jitter = shifted(&[0.03, -0.05, 0.01]);
        assert_eq!((jitter.difference_milli, jitter.verdict()), (Some(30), Verdict::Same));
        assert_eq!(shifted(&[0.2, -0.25]).verdict(), Verdict::Same, "quantised");
        assert_eq!(shifted(&[-0.6, 0.1, -0.9]).verdict(), Verdict::Other);
    }

    #[test]
    fn a_character_may_be_cut_between_tokens() {
        let token = |bytes: &[u8], rivals: Vec<(Vec<u8>, f64)>| Token {
            bytes: bytes.to_vec(),
            logprob: -0.5,
            rivals,
        };
        let tokens = vec![
            token(&[0xc3], Vec::new()),
            token(&[0xa4], Vec::new()),
            token(b"b", vec![(b"b".to_vec(), -0.5), (b"cd".to_vec(), -0.75)]),
            token(b" and so on and on", Vec::new()),
        ];
        let known = Answer { text: "äb and so on and on".to_owned(), tokens, ..Answer::default() };
        let other = Likeness::of(&known, &silent("äcd"));
        assert_eq!((other.gap_milli, other.verdict()), (Some(250), Verdict::Unsure));
        let broken = vec![token(&[0xff, b'a'], vec![(b"b".to_vec(), -0.5)])];
        let broken = Answer { text: "\u{fffd}a".to_owned(), tokens: broken, ..Answer::default() };
        assert_eq!(Likeness::of(&broken, &silent("b")).gap_milli, None);
    }
}
