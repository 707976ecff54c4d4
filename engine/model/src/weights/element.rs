//! Element types of ggml: all that a file may name, and those that can be computed with.

use engine_backend::DType;

/// How a tensor's elements are stored, by ggml's numbering.
#[derive(Debug, PartialEq, Eq)]
pub struct ElementType {
    /// The number that stands for the type in a file.
    pub code: u32,
    /// ggml's name.
    pub name: &'static str,
    /// Elements in one block; blocks lie along a row.
    pub block_elements: u64,
    /// Bytes of one block.
    pub block_bytes: u64,
    /// The type to a backend; `None` if none computes with it.
    pub dtype: Option<DType>,
}

impl ElementType {
    /// The type that `code` stands for; `None` for codes never given and for types since removed.
    #[must_use]
    pub fn find(code: u32) -> Option<&'static Self> {
        ELEMENT_TYPES.iter().find(|element| element.code == code)
    }

    /// The type of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ELEMENT_TYPES.iter().find(|element| element.name == name)
    }

    /// The names of the types that can be computed with, for messages.
    #[must_use]
    pub fn supported() -> String {
        let names: Vec<_> = ELEMENT_TYPES
            .iter()
            .filter(|element| element.dtype.is_some())
            .map(|element| element.name)
            .collect();
        names.join(", ")
    }
}

const fn plain(code: u32, name: &'static str, bytes: u64, dtype: Option<DType>) -> ElementType {
    ElementType { code, name, block_elements: 1, block_bytes: bytes, dtype }
}

const fn block(
    code: u32,
    name: &'static str,
    block_elements: u64,
    block_bytes: u64,
    dtype: Option<DType>,
) -> ElementType {
    ElementType { code, name, block_elements, block_bytes, dtype }
}

const ELEMENT_TYPES: &[ElementType] = &[
    plain(0, "F32", 4, Some(DType::F32)),
    plain(1, "F16", 2, Some(DType::F16)),
    block(2, "Q4_0", 32, 18, Some(DType::Q4_0)),
    block(3, "Q4_1", 32, 20, Some(DType::Q4_1)),
    block(6, "Q5_0", 32, 22, Some(DType::Q5_0)),
    block(7, "Q5_1", 32, 24, Some(DType::Q5_1)),
    block(8, "Q8_0", 32, 34, Some(DType::Q8_0)),
    block(9, "Q8_1", 32, 36, None),
    block(10, "Q2_K", 256, 84, Some(DType::Q2K)),
    block(11, "Q3_K", 256, 110, Some(DType::Q3K)),
    block(12, "Q4_K", 256, 144, Some(DType::Q4K)),
    block(13, "Q5_K", 256, 176, Some(DType::Q5K)),
    block(14, "Q6_K", 256, 210, Some(DType::Q6K)),
    block(15, "Q8_K", 256, 292, None),
    block(16, "IQ2_XXS", 256, 66, None),
    block(17, "IQ2_XS", 256, 74, None),
    block(18, "IQ3_XXS", 256, 98, None),
    block(19, "IQ1_S", 256, 50, None),
    block(20, "IQ4_NL", 32, 18, Some(DType::Iq4Nl)),
    block(21, "IQ3_S", 256, 110, None),
    block(22, "IQ2_S", 256, 82, None),
    block(23, "IQ4_XS", 256, 136, Some(DType::Iq4Xs)),
    plain(24, "I8", 1, None),
    plain(25, "I16", 2, None),
    plain(26, "I32", 4, None),
    plain(27, "I64", 8, None),
    plain(28, "F64", 8, None),
    block(29, "IQ1_M", 256, 56, None),
    plain(30, "BF16", 2, Some(DType::Bf16)),
    block(34, "TQ1_0", 256, 54, None),
    block(35, "TQ2_0", 256, 66, None),
    block(39, "MXFP4", 32, 17, Some(DType::Mxfp4)),
    block(40, "NVFP4", 64, 36, None),
    block(41, "Q1_0", 128, 18, None),
    block(42, "Q2_0", 64, 18, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supported_types_have_the_sizes_that_backends_know() {
        let supported: Vec<_> =
            ELEMENT_TYPES.iter().filter(|element| element.dtype.is_some()).collect();
        assert_eq!(supported.len(), 16);
        for element in supported {
            let dtype = element.dtype.unwrap();
            assert_eq!(element.block_elements, dtype.block_elements() as u64, "{}", element.name);
            assert_eq!(element.block_bytes, dtype.block_bytes() as u64, "{}", element.name);
        }
    }

    #[test]
    fn codes_are_sorted_and_names_unique() {
        assert!(ELEMENT_TYPES.is_sorted_by(|a, b| a.code < b.code));
        for element in ELEMENT_TYPES {
            let same = ELEMENT_TYPES.iter().filter(|other| other.name == element.name).count();
            assert_eq!(same, 1, "{}", element.name);
        }
    }
}
