//! From tokens to the text that a client may see: characters are never split, and nothing of a stop
//! string gets out.

use std::sync::Arc;

use engine_contract::{Logprobs, TokenId};
use runtime_text::{Control, Detokenizer, StopMatcher, Tokenizer};

use crate::{NamedLogprob, Shown, TokenLogprobs};

/// The text of one output so far, as far as it is undecided.
pub(crate) struct Transcript {
    tokenizer: Arc<Tokenizer>,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    names: Names,
    /// What one token completes; kept for its memory.
    piece: String,
}

/// What tokens are called beside their log-probabilities.
#[derive(Clone, Copy)]
enum Names {
    /// `token_id:N`
    Ids,
    Texts,
}

/// Whether an output goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It does.
    More,
    /// A stop string is complete.
    Stopped,
}

impl Transcript {
    /// An empty one that ends at any of `stops`.
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, stops: Vec<String>, shown: Shown) -> Self {
        let control = if shown.control { Control::Shown } else { Control::Hidden };
        let stops = StopMatcher::new(stops);
        Self {
            detokenizer: Detokenizer::new(Arc::clone(&tokenizer), control),
            tokenizer,
            stops: if shown.stop { stops.showing_found() } else { stops },
            names: if shown.ids { Names::Ids } else { Names::Texts },
            piece: String::new(),
        }
    }

    /// Takes a token, and appends to `out` what may be shown now.
    pub(crate) fn push(&mut self, token: TokenId, out: &mut String) -> Progress {
        self.piece.clear();
        self.detokenizer.push(token.0, &mut self.piece);
        self.watch(out)
    }

    /// Ends the output, and appends to `out` what was held back.
    pub(crate) fn finish(&mut self, out: &mut String) -> Progress {
        self.piece.clear();
        self.detokenizer.finish(&mut self.piece);
        let progress = self.watch(out);
        if progress == Progress::More {
            self.stops.finish(out);
        }
        progress
    }

    /// Says by name how likely a token was.
    pub(crate) fn name(&self, drawn: TokenId, logprobs: &Logprobs) -> TokenLogprobs {
        let named = |token: TokenId, logprob| {
            let name = match self.names {
                Names::Ids => format!("token_id:{token}").into_bytes(),
                Names::Texts => self.tokenizer.token_name(token.0).to_vec(),
            };
            NamedLogprob { name, logprob }
        };
        let top = logprobs.top.iter().map(|one| named(one.token, one.logprob));
        TokenLogprobs { drawn: named(drawn, logprobs.drawn), top: top.collect() }
    }

    fn watch(&mut self, out: &mut String) -> Progress {
        match self.stops.push(&self.piece, out) {
            Some(_) => Progress::Stopped,
            None => Progress::More,
        }
    }
}
