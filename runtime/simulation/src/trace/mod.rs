//! Who asks for what, and when: read from a table of requests, or drawn by a specification.
//!
//! A table is CSV in the form of the public Azure traces of LLM inference, `TIMESTAMP,
//! ContextTokens,GeneratedTokens`, with a column `Tenant` where there are several. A specification
//! is TOML: streams of requests, each with its arrivals and lengths.

mod draw;
mod moment;
mod spec;
mod table;

use std::collections::BTreeMap;

/// Requests in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Names of tenants and their weights.
    pub tenants: Vec<(String, u32)>,
    /// By arrival.
    pub arrivals: Vec<Arrival>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// When, in microseconds from the first moment of the trace.
    pub at_us: u64,
    /// Whose: a place in [`Trace::tenants`].
    pub tenant: u32,
    /// Tokens of the prompt; at least one.
    pub prompt: u32,
    /// Tokens of the output; at least one.
    pub output: u32,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Something stands in a table that cannot stand there.
    #[error("line {line}, column {column}: {found:?} is not {expected}")]
    Cell {
        /// Counted from 1, the header included.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A table has no column of this name.
    #[error("line 1: there is no column {column}; a table has {}", table::COLUMNS)]
    Column {
        /// Its name.
        column: &'static str,
    },
    /// The trace has no request.
    #[error("the trace has no request")]
    Empty,
    /// A table is not one.
    #[error("the trace is no table: {0}")]
    Form(#[from] csv::Error),
    /// A specification is not one.
    #[error("{}", .0.to_string().trim_end())]
    Spec(#[from] toml::de::Error),
    /// A number of a specification cannot be.
    #[error("{key} is {found}, and must be {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
}

impl Trace {
    /// Reads a table, or draws what a specification says; its first line tells which it is.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let header = text.lines().next().unwrap_or_default();
        let is_table = header.split(',').any(|name| name.trim() == table::TIMESTAMP);
        let mut trace = if is_table { table::read(text)? } else { spec::read(text)? };
        if trace.arrivals.is_empty() {
            return Err(TraceError::Empty);
        }
        // Stable: who stands first comes first.
        trace.arrivals.sort_by_key(|arrival| arrival.at_us);
        Ok(trace)
    }
}

/// Names as they come, each with a number.
#[derive(Default)]
struct Names {
    numbers: BTreeMap<String, u32>,
    names: Vec<(String, u32)>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        self.names.push((name.to_owned(), 1));
        number
    }
}

#[cfg(test)]
mod tests;
