//! On how many backends one request runs.

use std::fmt;
use std::str::FromStr;

/// Most copies of one request that run at once. More buy next to nothing: the third rarely wins.
pub const COPIES_MAX: u8 = 5;

/// How a model's requests are run. Whatever it is, a request is charged once, for the answer that is
/// handed out; copies whose answers are not wanted are cancelled and charged to nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Execution {
    /// On one backend; on another one if the first fails before its first content.
    #[default]
    Single,
    /// On a second one as well when the first content is later than 95 of 100 usually are. For
    /// streams only, and for one request in twenty at most.
    Hedge,
    /// On several at once, of different providers; whoever has content first is heard.
    Race {
        /// How many, 2 to [`COPIES_MAX`].
        of: u8,
    },
    /// On several at once, of different providers, and answered when enough of them agree. For
    /// answers that leave nothing to chance; other requests are hedged.
    Quorum {
        /// How many run, 2 to [`COPIES_MAX`].
        of: u8,
        /// How many must agree: more than half, so that there are no two such answers.
        agree: u8,
    },
}

/// Why a text names no way to run requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionError;

impl Execution {
    /// Backends on which a request runs at most, failures aside.
    #[must_use]
    pub const fn copies(self) -> u8 {
        match self {
            Self::Single => 1,
            Self::Hedge => 2,
            Self::Race { of } | Self::Quorum { of, .. } => of,
        }
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("single"),
            Self::Hedge => f.write_str("hedge"),
            Self::Race { of } => write!(f, "race:{of}"),
            Self::Quorum { of, agree } => write!(f, "quorum:{of}:{agree}"),
        }
    }
}

impl FromStr for Execution {
    type Err = ExecutionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split(':');
        let kind = words.next().ok_or(ExecutionError)?;
        let numbers: Vec<u8> =
            words.map(str::parse).collect::<Result<_, _>>().map_err(|_| ExecutionError)?;
        let copies = |of: u8| (2..=COPIES_MAX).contains(&of);
        match (kind, numbers.as_slice()) {
            ("single", []) => Ok(Self::Single),
            ("hedge", []) => Ok(Self::Hedge),
            ("race", [of]) if copies(*of) => Ok(Self::Race { of: *of }),
            ("quorum", []) => Ok(Self::Quorum { of: 3, agree: 2 }),
            ("quorum", [of, agree]) if copies(*of) && agree <= of && agree * 2 > *of => {
                Ok(Self::Quorum { of: *of, agree: *agree })
            }
            _ => Err(ExecutionError),
        }
    }
}

impl fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not single, hedge, race:N or quorum:N:M (N copies, 2 to {COPIES_MAX}; M of them agree, \
             more than half)"
        )
    }
}

impl std::error::Error for ExecutionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_and_wrong_ones_are_refused() {
        let all = [
            Execution::Single,
            Execution::Hedge,
            Execution::Race { of: 2 },
            Execution::Race { of: 5 },
            Execution::Quorum { of: 3, agree: 2 },
            Execution::Quorum { of: 2, agree: 2 },
        ];
        for one in all {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert_eq!("quorum".parse(), Ok(Execution::Quorum { of: 3, agree: 2 }));
        let wrong = [
            "",
            "twice",
            "single:1",
            "race",
            "race:1",
            "race:6",
            "race:-2",
            "race:2:2",
            "quorum:3",
            "quorum:4:2",
            "quorum:3:1",
            "quorum:3:4",
            "quorum:6:5",
            "hedge:2",
            "race:999",
        ];
        for text in wrong {
            assert_eq!(text.parse::<Execution>(), Err(ExecutionError), "{text}");
        }
        assert_eq!(Execution::default().copies(), 1);
    }
}
