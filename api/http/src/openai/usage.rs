//! What a request took, in the wire's words.

use serde::Serialize;

/// OpenAI's `usage`.
#[derive(Serialize)]
pub(crate) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
    prompt_tokens_details: PromptTokens,
}

#[derive(Serialize)]
struct PromptTokens {
    cached_tokens: u32,
}

impl Usage {
    /// The usage as a JSON object.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers always serialise")
    }
}

impl From<runtime::Usage> for Usage {
    fn from(usage: runtime::Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.output,
            total_tokens: u64::from(usage.prompt) + u64::from(usage.output),
            prompt_tokens_details: PromptTokens { cached_tokens: usage.cached },
        }
    }
}
