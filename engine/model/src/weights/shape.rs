//! Sizes of tensors.

use std::fmt;

use super::TensorInfo;

/// The sizes of a tensor, innermost first, without the ones at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<u64>);

impl Shape {
    /// Of these sizes, innermost first.
    #[must_use]
    pub fn new(mut sizes: Vec<u64>) -> Self {
        while sizes.len() > 1 && sizes.last() == Some(&1) {
            sizes.pop();
        }
        Self(sizes)
    }

    pub(crate) fn vector(length: usize) -> Self {
        Self::new(vec![length as u64])
    }

    pub(crate) fn matrix(columns: usize, rows: usize) -> Self {
        Self::new(vec![columns as u64, rows as u64])
    }

    /// So many of this matrix, one after the other.
    pub(crate) fn times(&self, number: usize) -> Self {
        let size = |index: usize| self.0.get(index).copied().unwrap_or(1);
        Self::new(vec![size(0), size(1), number as u64])
    }

    /// Elements of a row.
    pub(crate) fn columns(&self) -> usize {
        self.size(0)
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.size(1)
    }

    fn size(&self, index: usize) -> usize {
        let size = self.0.get(index).copied().unwrap_or(1);
        usize::try_from(size).expect("a model's sizes are usizes")
    }

    /// The sizes, innermost first.
    #[must_use]
    pub fn sizes(&self) -> &[u64] {
        &self.0
    }
}

impl From<&TensorInfo> for Shape {
    fn from(tensor: &TensorInfo) -> Self {
        Self::new(tensor.dimensions.clone())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
