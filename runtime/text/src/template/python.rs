//! Values as Python writes them, which is what templates were tested with.

use std::io;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Writes a value as `str()` would.
pub(super) fn write(out: &mut Output<'_>, value: &Value) -> Result<(), Error> {
    let written = if value.is_none() {
        out.write_str("None")
    } else if value.kind() == ValueKind::Bool {
        out.write_str(if value.is_true() { "True" } else { "False" })
    } else {
        write!(out, "{value}")
    };
    written.map_err(Error::from)
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`: not escaped for HTML, as Jinja's own
/// would.
pub(super) fn to_json(
    value: &Value,
    indent: Option<usize>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    const INDENT_MAX: usize = 64;
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    // The others choose among spellings; templates give their default.
    for other in ["ensure_ascii", "separators", "sort_keys"] {
        let _ = kwargs.get::<Option<Value>>(other)?;
    }
    kwargs.assert_all_used()?;
    let bytes = match indent {
        Some(indent) => {
            let spaces = vec![b' '; indent.min(INDENT_MAX)];
            serialize(value, PrettyFormatter::with_indent(&spaces))?
        }
        None => serialize(value, Spaced)?,
    };
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

fn serialize(value: &Value, formatter: impl Formatter) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter)).map_err(|error| {
        Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(error)
    })?;
    Ok(bytes)
}

/// JSON on one line, with Python's spaces after commas and colons.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
