//! One metadata value, and how it is read.

use super::cursor::Cursor;
use super::error::GgufError;

/// A metadata value. Widths are forgotten: what counts is whether a value fits where it is used.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Array(Array),
    Bool(bool),
    Float(f64),
    Integer(i128),
    String(Box<str>),
}

#[derive(Clone, Debug)]
pub(super) enum Array {
    Bools,
    Floats(Box<[f32]>),
    Integers(Integers),
    Strings(Strings),
}

/// Integers of one width, as the file has them.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    kind: Kind,
    bytes: Box<[u8]>,
}

/// The strings of an array, one after the other in one allocation.
#[derive(Clone, Debug)]
pub struct Strings {
    text: Box<str>,
    ends: Box<[usize]>,
}

/// The value types of GGUF, less arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    String,
    U8,
    U16,
    U32,
    U64,
}

const ARRAY: u32 = 9;

impl Value {
    /// Reads a value with its type before it.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, GgufError> {
        let code = cursor.u32()?;
        if code == ARRAY {
            return Array::read(cursor).map(Self::Array);
        }
        let kind = Kind::find(code, cursor)?;
        match kind {
            Kind::Bool => read_bool(cursor).map(Self::Bool),
            Kind::String => cursor.string().map(|text| Self::String(text.into())),
            Kind::F32 => cursor.array().map(|bytes| Self::Float(f32::from_le_bytes(bytes).into())),
            Kind::F64 => cursor.array().map(|bytes| Self::Float(f64::from_le_bytes(bytes))),
            Kind::I8
            | Kind::I16
            | Kind::I32
            | Kind::I64
            | Kind::U8
            | Kind::U16
            | Kind::U32
            | Kind::U64 => {
                cursor.take(kind.bytes()).map(|bytes| Self::Integer(kind.integer(bytes)))
            }
        }
    }

    /// What it is, for messages.
    pub(super) const fn describe(&self) -> &'static str {
        match self {
            Self::Array(Array::Bools) => "an array of booleans",
            Self::Array(Array::Floats(_)) => "an array of floating-point numbers",
            Self::Array(Array::Integers(_)) => "an array of integers",
            Self::Array(Array::Strings(_)) => "an array of strings",
            Self::Bool(_) => "a boolean",
            Self::Float(_) => "a floating-point number",
            Self::Integer(value) if *value < 0 => "a negative integer",
            Self::Integer(_) => "an integer",
            Self::String(_) => "a string",
        }
    }
}

impl Array {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, GgufError> {
        let code = cursor.u32()?;
        let length = cursor.u64()?;
        if code == ARRAY {
            return Err(GgufError::Nested { section: cursor.section.clone() });
        }
        let kind = Kind::find(code, cursor)?;
        if kind == Kind::String {
            return Strings::read(cursor, length).map(Self::Strings);
        }
        // A count whose bytes cannot be counted is a count beyond the file's end.
        let bytes = cursor.take(length.saturating_mul(kind.bytes()))?;
        Ok(match kind {
            Kind::Bool => {
                bytes.iter().try_for_each(|&byte| check_bool(byte, cursor).map(drop))?;
                Self::Bools
            }
            Kind::F32 => Self::Floats(decode(bytes, f32::from_le_bytes)),
            Kind::F64 => Self::Floats(decode(bytes, |bytes| f64::from_le_bytes(bytes) as f32)),
            Kind::I8
            | Kind::I16
            | Kind::I32
            | Kind::I64
            | Kind::String
            | Kind::U8
            | Kind::U16
            | Kind::U32
            | Kind::U64 => Self::Integers(Integers { kind, bytes: bytes.into() }),
        })
    }
}

impl Integers {
    pub(super) fn iter(&self) -> impl Iterator<Item = i128> {
        let width = usize::try_from(self.kind.bytes()).expect("at most 8");
        self.bytes.chunks_exact(width).map(|bytes| self.kind.integer(bytes))
    }
}

impl Strings {
    fn read(cursor: &mut Cursor<'_>, length: u64) -> Result<Self, GgufError> {
        let mut text = String::new();
        let mut ends = Vec::new();
        // Every string takes bytes of the header, so a false count ends with it, not with memory.
        for _ in 0..length {
            text.push_str(cursor.string()?);
            ends.push(text.len());
        }
        Ok(Self { text: text.into(), ends: ends.into() })
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The strings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end])
    }
}

impl Kind {
    fn find(code: u32, cursor: &Cursor<'_>) -> Result<Self, GgufError> {
        Ok(match code {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            found => {
                return Err(GgufError::ValueType { section: cursor.section.clone(), found });
            }
        })
    }

    /// Bytes of one value; of a string, the least.
    const fn bytes(self) -> u64 {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::String | Self::U64 => 8,
        }
    }

    /// The integer in as many little-endian bytes as the kind has.
    fn integer(self, bytes: &[u8]) -> i128 {
        let signed = matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64);
        let negative = signed && bytes.last().is_some_and(|&last| last >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        i128::from_le_bytes(wide)
    }
}

fn read_bool(cursor: &mut Cursor<'_>) -> Result<bool, GgufError> {
    let [byte] = cursor.array()?;
    check_bool(byte, cursor)
}

fn check_bool(found: u8, cursor: &Cursor<'_>) -> Result<bool, GgufError> {
    match found {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(GgufError::Boolean { section: cursor.section.clone(), found }),
    }
}

fn decode<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f32) -> Box<[f32]> {
    bytes.chunks_exact(N).map(|chunk| one(chunk.try_into().expect("chunks of N"))).collect()
}
