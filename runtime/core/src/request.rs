//! What comes in: requests, and why they are refused or cancelled.

use alloc::sync::Arc;
use core::fmt;

use engine_contract::{Sampling, TokenId};

use crate::{Priority, TenantId};

/// A request, for as long as the process lives. Never reused. The shell mints it as
/// `hub << 48 | serial`, so ids sorted are grouped by hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A moment, in microseconds since an origin that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// One prompt to continue.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in everything that follows.
    pub id: RequestId,
    /// The given tokens; at least one.
    pub prompt: Arc<[TokenId]>,
    /// Most tokens to generate; at least one. The context bounds it further.
    pub max_tokens: u32,
    /// Fewest tokens to generate before a stop token counts.
    pub min_tokens: u32,
    /// Tokens that end the output. The one that ends it is not delivered.
    pub stop_tokens: Arc<[TokenId]>,
    /// How tokens are drawn.
    pub sampling: Arc<Sampling>,
    /// Keeps prefix-cache entries apart: only requests of equal salt share blocks.
    pub salt: u64,
    /// On whose account and by when.
    pub terms: Terms,
}

/// On whose account a request is served, and by when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whose it is.
    pub tenant: TenantId,
    /// How urgent it is among its tenant's.
    pub priority: Priority,
    /// When its first step must have been planned.
    pub queue_deadline: Option<Tick>,
    /// When its output must be complete.
    pub deadline: Option<Tick>,
}

/// Why a request was not taken. Nothing is owed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The prompt leaves no room for one token of output in the context.
    ContextExceeded {
        /// Tokens of the prompt.
        prompt: u32,
        /// The model's context.
        context: u32,
    },
    /// A deadline of its own has passed already.
    DeadlinePassed,
    /// Finishing what runs, taking nothing new.
    Draining,
    /// The prompt has no token.
    EmptyPrompt,
    /// The prompt alone needs more cache than the whole pool has.
    ExceedsCache {
        /// Tokens of the prompt.
        prompt: u32,
        /// Positions in the whole pool.
        capacity: u32,
    },
    /// The prompt alone needs more cache than its tenant may hold.
    ExceedsShare {
        /// Tokens of the prompt.
        prompt: u32,
        /// Positions in the tenant's share of the pool.
        capacity: u32,
    },
    /// As many requests, or prompt tokens, wait as the server holds: its bound, not the tenant's.
    QueueFull {
        /// Requests waiting.
        waiting: u32,
        /// What is reached.
        bound: QueueBound,
        /// When there will be room, as far as lately tells.
        retry_after_us: Option<u64>,
    },
    /// As many requests, or prompt tokens, of its tenant wait as may.
    TenantQueueFull {
        /// Requests of the tenant waiting.
        waiting: u32,
        /// What is reached.
        bound: QueueBound,
        /// When there will be room, as far as lately tells.
        retry_after_us: Option<u64>,
    },
    /// No tenant has this name.
    UnknownTenant(TenantId),
}

/// What a queue is full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueBound {
    /// Most requests waiting.
    Requests(u32),
    /// Most prompt tokens waiting.
    Tokens(u64),
}

/// Why a request was cancelled from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelCause {
    /// The client went away.
    Disconnect,
    /// The drain deadline passed.
    Drain,
    /// The client took nothing for too long.
    Stall,
    /// The session found a stop string; the client has its finish already.
    StopString,
}

impl Rejected {
    /// One word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ContextExceeded { .. } => "context_exceeded",
            Self::DeadlinePassed => "deadline_passed",
            Self::Draining => "draining",
            Self::EmptyPrompt => "empty_prompt",
            Self::ExceedsCache { .. } => "exceeds_cache",
            Self::ExceedsShare { .. } => "exceeds_share",
            Self::QueueFull { .. } => "queue_full",
            Self::TenantQueueFull { .. } => "tenant_queue_full",
            Self::UnknownTenant(_) => "unknown_tenant",
        }
    }

    /// When there will be room for the request, in microseconds from now, as far as the pace of the
    /// last seconds tells; `None` if it does not, or if waiting does not help.
    #[must_use]
    pub const fn retry_after_us(&self) -> Option<u64> {
        match *self {
            Self::QueueFull { retry_after_us, .. }
            | Self::TenantQueueFull { retry_after_us, .. } => retry_after_us,
            Self::ContextExceeded { .. }
            | Self::DeadlinePassed
            | Self::Draining
            | Self::EmptyPrompt
            | Self::ExceedsCache { .. }
            | Self::ExceedsShare { .. }
            | Self::UnknownTenant(_) => None,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContextExceeded { prompt, context } => write!(
                f,
                "the prompt has {prompt} tokens, and the model's context of {context} must hold at \
                 least one more"
            ),
            Self::DeadlinePassed => f.write_str("the deadline of the request has passed"),
            Self::Draining => f.write_str("the server is shutting down"),
            Self::EmptyPrompt => f.write_str("the prompt has no tokens"),
            Self::ExceedsCache { prompt, capacity } => write!(
                f,
                "the prompt has {prompt} tokens, and the whole key-value cache holds {capacity}"
            ),
            Self::ExceedsShare { prompt, capacity } => write!(
                f,
                "the prompt has {prompt} tokens, and this tenant's share of the key-value cache \
                 holds {capacity}"
            ),
            Self::QueueFull { waiting, bound, .. } => write!(
                f,
                "the server's queue is full: {waiting} requests are waiting, and {bound} may"
            ),
            Self::TenantQueueFull { waiting, bound, .. } => write!(
                f,
                "this tenant's queue is full: {waiting} of its requests are waiting, and {bound} may"
            ),
            Self::UnknownTenant(tenant) => write!(f, "there is no tenant {tenant}"),
        }
    }
}

impl fmt::Display for QueueBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(max) => write!(f, "{max}"),
            Self::Tokens(max) => write!(f, "{max} prompt tokens"),
        }
    }
}

impl core::error::Error for Rejected {}
