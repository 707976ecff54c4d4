//! Prompts that are prefilled in one step.

use std::fmt;
use std::str::FromStr;

/// So many prompts of so many tokens each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prompts {
    pub(crate) count: usize,
    pub(crate) tokens: usize,
}

impl FromStr for Prompts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, tokens) = text.split_once('x').unwrap_or(("1", text));
        let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
        match (number(count), number(tokens)) {
            (Some(count), Some(tokens)) => Ok(Self { count, tokens }),
            _ => Err(format!("{text:?}, expected TOKENS or COUNTxTOKENS, as in 16x1024")),
        }
    }
}

impl fmt::Display for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "{}", self.tokens),
            count => write!(f, "{count} x {}", self.tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_with_and_without_a_count() {
        assert_eq!("512".parse(), Ok(Prompts { count: 1, tokens: 512 }));
        assert_eq!("16x1024".parse(), Ok(Prompts { count: 16, tokens: 1024 }));
        assert!("16x".parse::<Prompts>().is_err());
        assert!("0x4".parse::<Prompts>().is_err());
    }
}
