//! Reads the header of a safetensors file.
//!
//! The format is that of Hugging Face's `safetensors`: eight bytes with the length of a header in
//! JSON, that header, then the data. As with GGUF nothing is believed: lengths, types, shapes and
//! offsets are checked against the bytes that are there before anything is made of them.

use std::collections::HashSet;
use std::ops::Range;

use super::element::ElementType;
use super::error::Name;
use super::fault::Fault;
use super::json::{Json, read_members};
use super::tensor::{TensorInfo, find_overlap};

/// Some hundred times what the largest files take.
const HEADER_BYTES_MAX: u64 = 32 << 20;
const TENSORS_MAX: usize = 1 << 16;
const DIMENSIONS_MAX: usize = 4;

/// Values in the description of a tensor, or in the free text about the file.
const VALUES_MAX: usize = 1 << 12;

/// Bytes of the length at the start.
const LENGTH_BYTES: u64 = 8;

/// The member that is no tensor: whatever the writer had to say.
const FREE_TEXT: &str = "__metadata__";

/// The tensors of a file with these bytes, in the order of its header.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_safetensors(file: &[u8]) -> Result<Vec<TensorInfo>, Fault> {
    let length = file.len() as u64;
    let truncated = |needed| Fault::Truncated { needed, length };
    let (first, rest) = file.split_first_chunk().ok_or_else(|| truncated(LENGTH_BYTES))?;
    let found = u64::from_le_bytes(*first);
    if found > HEADER_BYTES_MAX {
        return Err(Fault::TooLong { what: "its header", found, most: HEADER_BYTES_MAX });
    }
    let header = usize::try_from(found).ok().and_then(|found| rest.get(..found));
    let header = header.ok_or_else(|| truncated(LENGTH_BYTES + found))?;
    let start = file.len() - rest.len() + header.len();
    let tensors = read_tensors(header, start, rest.len() - header.len())?;
    match find_overlap(&tensors) {
        Some([tensor, other]) => Err(Fault::Overlap { tensor, other }),
        None => Ok(tensors),
    }
}

/// Tensors whose data begins at `start` of the file and has `length` bytes.
fn read_tensors(header: &[u8], start: usize, length: usize) -> Result<Vec<TensorInfo>, Fault> {
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    read_members(header, VALUES_MAX, |name, value| {
        if !names.insert(name.to_owned()) {
            return Err(Fault::Json { reason: format!("{} occurs twice", Name::from(name)) });
        }
        if name == FREE_TEXT {
            return Ok(());
        }
        if tensors.len() == TENSORS_MAX {
            return Err(Fault::TooMany { most: TENSORS_MAX });
        }
        tensors.push(read_tensor(name, &value, start, length)?);
        Ok(())
    })?;
    Ok(tensors)
}

fn read_tensor(name: &str, value: &Json, start: usize, data: usize) -> Result<TensorInfo, Fault> {
    let member = |key| {
        let full = || Name::from(&*format!("{name}.{key}"));
        let Json::Object(members) = value else {
            let (key, found) = (name.into(), value.describe());
            return Err(Fault::WrongType { key, found, expected: "an object" });
        };
        let missing = || Fault::Missing { key: full(), expected: "what the format asks for" };
        members.get(key).map(|value| (value, full())).ok_or_else(missing)
    };
    let (dtype, key) = member("dtype")?;
    let Json::String(dtype) = dtype else {
        return Err(Fault::WrongType { key, found: dtype.describe(), expected: "a string" });
    };
    let element = find_element(name, dtype)?;
    let (shape, key) = member("shape")?;
    let dimensions = read_dimensions(name, sizes(shape, key)?)?;
    let (offsets, key) = member("data_offsets")?;
    let [begin, end] = sizes(offsets, key.clone())?[..] else {
        let (found, expected) = (offsets.describe(), "two offsets");
        return Err(Fault::WrongType { key, found, expected });
    };
    let expected = count_bytes(name, &dimensions, element)?;
    let bytes = place(name, begin..end, expected, start, data)?;
    Ok(TensorInfo { name: name.to_owned(), element, dimensions, file: 0, bytes })
}

fn find_element(name: &str, dtype: &str) -> Result<&'static ElementType, Fault> {
    let plain = ["F32", "F16", "BF16"];
    let element = plain.contains(&dtype).then(|| ElementType::named(dtype)).flatten();
    element.ok_or_else(|| Fault::ElementType {
        tensor: name.into(),
        found: dtype.into(),
        supported: plain.join(", "),
    })
}

/// Innermost first. A tensor without dimensions holds one element.
fn read_dimensions(name: &str, shape: Vec<u64>) -> Result<Vec<u64>, Fault> {
    if shape.len() > DIMENSIONS_MAX {
        let (found, most) = (shape.len(), DIMENSIONS_MAX);
        return Err(Fault::Dimensions { tensor: name.into(), found, most });
    }
    if shape.contains(&0) {
        return Err(Fault::Shape { tensor: name.into(), shape });
    }
    if shape.is_empty() {
        return Ok(vec![1]);
    }
    Ok(shape.into_iter().rev().collect())
}

fn count_bytes(name: &str, dimensions: &[u64], element: &ElementType) -> Result<u64, Fault> {
    let bytes =
        dimensions.iter().try_fold(element.block_bytes, |product, &size| product.checked_mul(size));
    bytes.ok_or_else(|| Fault::Shape {
        tensor: name.into(),
        shape: dimensions.iter().rev().copied().collect(),
    })
}

/// Where in the file the tensor is.
fn place(
    name: &str,
    offsets: Range<u64>,
    expected: u64,
    start: usize,
    data: usize,
) -> Result<Range<usize>, Fault> {
    let tensor = Name::from(name);
    let Range { start: begin, end } = offsets;
    if begin > end || end > data as u64 {
        return Err(Fault::OutOfFile { tensor, begin, end, length: data as u64 });
    }
    if end - begin != expected {
        return Err(Fault::Size { tensor, found: end - begin, expected });
    }
    let at = |offset: u64| start + usize::try_from(offset).expect("within the file");
    Ok(at(begin)..at(end))
}

fn sizes(value: &Json, key: Name) -> Result<Vec<u64>, Fault> {
    let wrong = |found| Fault::WrongType { key, found, expected: "an array of integers" };
    let Json::Array(values) = value else { return Err(wrong(value.describe())) };
    let size = |value: &Json| {
        let Json::Integer(size) = value else { return None };
        u64::try_from(*size).ok()
    };
    let sizes: Option<_> = values.iter().map(size).collect();
    sizes.ok_or_else(|| wrong("an array of something else"))
}
