//! The tensors that a GGUF file lists, and where their bytes are.

use std::collections::HashSet;
use std::ops::Range;

use super::cursor::Cursor;
use super::element::ElementType;
use super::error::{GgufError, Name, Section};

/// A tensor in a file.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// How its elements are stored.
    pub element: &'static ElementType,
    /// One to four sizes, innermost first; none is 0.
    pub dimensions: Vec<u64>,
    /// Which of the checkpoint's files it is in, from 0 on.
    pub file: usize,
    /// Its bytes in that file.
    pub bytes: Range<usize>,
}

/// A tensor as the header lists it: its bytes not yet checked against the file.
struct Listed {
    name: String,
    element: &'static ElementType,
    dimensions: Vec<u64>,
    offset: u64,
    bytes: u64,
}

const NAME_BYTES_MAX: u64 = 64;
const DIMENSIONS_MAX: u32 = 4;

impl TensorInfo {
    /// Number of elements.
    #[must_use]
    pub fn num_elements(&self) -> u64 {
        self.dimensions.iter().product()
    }
}

/// Reads the list of tensors, which the data follows.
pub(super) fn read_all(
    cursor: &mut Cursor<'_>,
    count: u64,
    alignment: u64,
) -> Result<Vec<TensorInfo>, GgufError> {
    let mut names = HashSet::new();
    let mut listed = Vec::new();
    for index in 0..count {
        cursor.section = Section::NthTensor(index);
        let name = cursor.name(NAME_BYTES_MAX)?;
        cursor.section = Section::Tensor(name.into());
        if !names.insert(name) {
            return Err(GgufError::Duplicate { section: cursor.section.clone() });
        }
        listed.push(Listed::read(cursor, name, alignment)?);
    }
    let start = cursor.offset().next_multiple_of(alignment);
    let tensors = listed
        .into_iter()
        .map(|tensor| tensor.place(start, cursor.length()))
        .collect::<Result<Vec<_>, _>>()?;
    match find_overlap(&tensors) {
        Some([tensor, other]) => Err(GgufError::Overlap { tensor, other }),
        None => Ok(tensors),
    }
}

impl Listed {
    fn read(cursor: &mut Cursor<'_>, name: &str, alignment: u64) -> Result<Self, GgufError> {
        let dimensions = read_dimensions(cursor, name)?;
        let code = cursor.u32()?;
        let element = ElementType::find(code)
            .ok_or_else(|| GgufError::ElementType { tensor: name.into(), found: code })?;
        let offset = cursor.u64()?;
        if !offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned { tensor: name.into(), offset, alignment });
        }
        let bytes = count_bytes(name, &dimensions, element)?;
        Ok(Self { name: name.to_owned(), element, dimensions, offset, bytes })
    }

    /// Finds the tensor's bytes in a file of `length` bytes whose data begins at `start`.
    fn place(self, start: u64, length: u64) -> Result<TensorInfo, GgufError> {
        let data = length.saturating_sub(start);
        let inside = self.offset.checked_add(self.bytes).is_some_and(|end| end <= data);
        if !inside {
            return Err(GgufError::OutOfFile {
                tensor: Name::from(&*self.name),
                offset: self.offset,
                bytes: self.bytes,
                length: data,
            });
        }
        let first = start + self.offset;
        let at =
            |offset: u64| usize::try_from(offset).expect("within a file whose length is a usize");
        let bytes = at(first)..at(first + self.bytes);
        Ok(TensorInfo {
            name: self.name,
            element: self.element,
            dimensions: self.dimensions,
            file: 0,
            bytes,
        })
    }
}

fn read_dimensions(cursor: &mut Cursor<'_>, name: &str) -> Result<Vec<u64>, GgufError> {
    let found = cursor.u32()?;
    if found == 0 || found > DIMENSIONS_MAX {
        return Err(GgufError::Dimensions { tensor: name.into(), found });
    }
    let dimensions = (0..found).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
    if dimensions.contains(&0) {
        return Err(GgufError::ZeroDimension { tensor: name.into(), dimensions });
    }
    Ok(dimensions)
}

fn count_bytes(name: &str, dimensions: &[u64], element: &ElementType) -> Result<u64, GgufError> {
    let columns = dimensions[0];
    if !columns.is_multiple_of(element.block_elements) {
        return Err(GgufError::Block {
            tensor: name.into(),
            columns,
            element: element.name,
            block: element.block_elements,
        });
    }
    let too_large = || GgufError::TooLarge { tensor: name.into(), dimensions: dimensions.to_vec() };
    let elements = dimensions
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size))
        .ok_or_else(too_large)?;
    (elements / element.block_elements).checked_mul(element.block_bytes).ok_or_else(too_large)
}

/// Two tensors that share bytes, the one that begins first before the other.
pub(super) fn find_overlap(tensors: &[TensorInfo]) -> Option<[Name; 2]> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.bytes.start);
    let pair = order.windows(2).find(|pair| pair[0].bytes.end > pair[1].bytes.start)?;
    Some([Name::from(&*pair[0].name), Name::from(&*pair[1].name)])
}
