//! Identifiers: one newtype each, so that a block is never mistaken for a token.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(
    /// A fixed run of key and value positions in the cache; an index into the pool.
    BlockId(u32), "b"
);
id!(
    /// A sequence's place in the engine's tables while it runs: its block table, its last token.
    /// Seats are reused; a row that says [`crate::TableChange::Fresh`] takes its seat over.
    SeatId(u32), "seat"
);
id!(
    /// One prompt and its continuation; the unit that is scheduled. Never reused.
    SequenceId(u64), "q"
);
id!(
    /// One forward pass. Consecutive from zero in the order of planning.
    StepId(u64), "step"
);
id!(
    /// An index into the model's vocabulary.
    TokenId(u32), "t"
);
