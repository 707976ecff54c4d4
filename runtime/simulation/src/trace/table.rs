//! A trace that is a table of requests.

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

use super::{Arrival, Names, Trace, TraceError, moment};

pub(super) const TIMESTAMP: &str = "TIMESTAMP";
const CONTEXT: &str = "ContextTokens";
const GENERATED: &str = "GeneratedTokens";
const TENANT: &str = "Tenant";
pub(super) const COLUMNS: &str = "TIMESTAMP, ContextTokens, GeneratedTokens and maybe Tenant";

/// Whose requests are where no column says it.
const NOBODY: &str = "default";

/// Most tokens of a prompt or an output.
const TOKENS_MAX: u32 = 1 << 24;

/// A line of a table.
struct Line {
    number: u64,
    record: StringRecord,
}

pub(super) fn read(text: &str) -> Result<Trace, TraceError> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
    let at = |column| place(&mut reader, column);
    let places = [TIMESTAMP, CONTEXT, GENERATED].map(at);
    let [timestamp, context, generated] = places;
    let (timestamp, context, generated) = (timestamp?, context?, generated?);
    let tenant = place(&mut reader, TENANT).ok();
    let (mut arrivals, mut names, mut record) = (Vec::new(), Names::default(), StringRecord::new());
    while reader.read_record(&mut record)? {
        let number = record.position().map_or(0, csv::Position::line);
        let line = Line { number, record: std::mem::take(&mut record) };
        let name = tenant.and_then(|place| line.record.get(place)).unwrap_or(NOBODY);
        if name.is_empty() {
            return Err(line.wrong(TENANT, "", "a name"));
        }
        arrivals.push(Arrival {
            at_us: line.moment(timestamp)?,
            tenant: names.number(name),
            prompt: line.tokens(context, CONTEXT)?,
            output: line.tokens(generated, GENERATED)?,
        });
    }
    let first = arrivals.iter().map(|arrival| arrival.at_us).min().unwrap_or(0);
    arrivals.iter_mut().for_each(|arrival| arrival.at_us -= first);
    Ok(Trace { tenants: names.names, arrivals })
}

fn place(reader: &mut Reader<&[u8]>, column: &'static str) -> Result<usize, TraceError> {
    let found = reader.headers()?.iter().position(|name| name == column);
    found.ok_or(TraceError::Column { column })
}

impl Line {
    fn moment(&self, place: usize) -> Result<u64, TraceError> {
        let text = &self.record[place];
        let expected = "a moment such as 2023-11-16 18:17:03.9799600, or seconds";
        moment::micros(text).ok_or_else(|| self.wrong(TIMESTAMP, text, expected))
    }

    fn tokens(&self, place: usize, column: &'static str) -> Result<u32, TraceError> {
        let text = &self.record[place];
        let tokens = text.parse().ok().filter(|tokens| (1..=TOKENS_MAX).contains(tokens));
        tokens.ok_or_else(|| self.wrong(column, text, "a number of tokens from 1 to 16777216"))
    }

    fn wrong(&self, column: &'static str, found: &str, expected: &'static str) -> TraceError {
        let found = found.chars().take(64).collect();
        TraceError::Cell { line: self.number, column, found, expected }
    }
}
