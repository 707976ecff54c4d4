//! Tokens and text: tokeniser, incremental detokeniser, stop strings, chat template.
//!
//! A [`Tokenizer`] is built from the vocabulary that a model file carries, a [`ChatTemplate`] from
//! the template it carries; both are made once and shared. A [`Detokenizer`] and a [`StopMatcher`]
//! belong to one output. There is no I/O here beyond loading a file, and no request or actor is
//! known.
//!
//! Invariant: text that a client sends never becomes a control token by way of a chat template.
//! Start reading at [`Tokenizer`], then [`Rendered`] for how that invariant is kept.

mod conversation;
mod detokenizer;
mod error;
mod mark;
mod message;
mod stop;
mod template;
mod tokenizer;
mod vocabulary;

pub use conversation::{Conversation, Ending};
pub use detokenizer::{Control, Detokenizer};
pub use error::{TemplateError, TokenizerError};
pub use mark::Rendered;
pub use message::Message;
pub use stop::StopMatcher;
pub use template::{ChatTemplate, SpecialTokens};
pub use tokenizer::{Roles, Tokenizer};
pub use vocabulary::{TokenKind, Vocabulary};
