//! What tokens of a `tokenizer.json` are for, which files beside it say.

use super::Tokenizer;
use crate::TokenizerError;

/// The roles that a model's files give to tokens. What they leave open stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The text of the token that begins a sequence.
    pub bos: Option<String>,
    /// The text of the token that ends a sequence.
    pub eos: Option<String>,
    /// Whether a prompt begins with the first of them.
    pub add_bos: Option<bool>,
    /// Tokens that end a turn.
    pub ends: Vec<u32>,
}

impl Tokenizer {
    /// The same tokeniser, with tokens in these roles.
    ///
    /// # Errors
    /// A token is not in the vocabulary; a prompt should begin with a token, but none is named.
    pub fn with_roles(mut self, roles: &Roles) -> Result<Self, TokenizerError> {
        self.bos = self.named("bos", roles.bos.as_deref())?.or(self.bos);
        self.eos = self.named("eos", roles.eos.as_deref())?.or(self.eos);
        self.add_bos = roles.add_bos.unwrap_or(self.add_bos);
        if self.add_bos && self.bos.is_none() {
            return Err(TokenizerError::NoBos);
        }
        let vocab = u32::try_from(self.vocab_size()).unwrap_or(u32::MAX);
        if let Some(&id) = roles.ends.iter().find(|&&id| id >= vocab) {
            return Err(TokenizerError::IdOutOfRange { key: "eos", id, vocab });
        }
        self.end_tokens.extend(roles.ends.iter().copied().chain(self.eos));
        self.end_tokens.sort_unstable();
        self.end_tokens.dedup();
        Ok(self)
    }

    fn named(&self, role: &'static str, text: Option<&str>) -> Result<Option<u32>, TokenizerError> {
        let Some(text) = text else { return Ok(None) };
        match self.control.id(text) {
            Some(id) => Ok(Some(id)),
            None => Err(TokenizerError::RoleMissing { role, token: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TokenKind, Vocabulary};

    /// `a`, `b`, then `<s>`, `</s>` and `<stop>`, which are control tokens.
    fn tokenizer() -> Tokenizer {
        let tokens = ["a", "b", "<s>", "</s>", "<stop>"].map(str::to_owned).to_vec();
        let kinds = [[TokenKind::Normal; 2].as_slice(), &[TokenKind::Control; 3]].concat();
        let (model, pre) = ("gpt2".to_owned(), Some("gpt-2".to_owned()));
        let vocabulary = Vocabulary { model, pre, tokens, kinds, ..Vocabulary::default() };
        Tokenizer::from_vocabulary(vocabulary).expect("a right vocabulary")
    }

    #[test]
    fn roles_say_what_begins_and_what_ends() {
        let plain = tokenizer();
        assert_eq!(plain.encode_text("ab"), [0, 1]);
        // One of them is known by its name.
        assert_eq!(plain.end_tokens(), [3]);
        let roles = Roles {
            bos: Some("<s>".to_owned()),
            eos: Some("<stop>".to_owned()),
            add_bos: Some(true),
            ends: vec![1, 4],
        };
        let told = tokenizer().with_roles(&roles).unwrap();
        assert_eq!(told.encode_text("ab"), [2, 0, 1]);
        assert_eq!(told.end_tokens(), [1, 3, 4]);
        assert_eq!(told.special_tokens().bos, "<s>");
        assert_eq!(told.special_tokens().eos, "<stop>");
        let again = told.with_roles(&Roles { add_bos: Some(false), ..Roles::default() }).unwrap();
        assert_eq!(again.encode_text("ab"), [0, 1]);
        assert_eq!(again.special_tokens().bos, "<s>");
    }

    #[test]
    fn roles_of_tokens_that_are_not_there_are_refused() {
        let refusal = |roles: &Roles| tokenizer().with_roles(roles).unwrap_err().to_string();
        assert_eq!(
            refusal(&Roles { bos: Some("<bos>".to_owned()), ..Roles::default() }),
            "the bos token is \"<bos>\", which is no control token of the vocabulary"
        );
        assert_eq!(
            refusal(&Roles { ends: vec![3, 5], ..Roles::default() }),
            "the eos token's id is 5, but there are 5 tokens"
        );
        assert_eq!(
            refusal(&Roles { add_bos: Some(true), ..Roles::default() }),
            "prompts should begin with the bos token, but no bos token is named"
        );
    }
}
