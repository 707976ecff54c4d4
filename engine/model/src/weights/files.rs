//! The files that hold a checkpoint's tensors, open.

use std::collections::HashMap;

use super::fault::{Fault, FileError};
use super::map::{Map, Mapped};
use super::tensor::TensorInfo;
use crate::ModelError;

/// Open files, and the tensors in them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    maps: Vec<Map>,
    names: Vec<String>,
    /// Each with the number of its file.
    pub(crate) tensors: Vec<TensorInfo>,
    /// The file of each tensor, by name.
    places: HashMap<String, usize>,
}

impl Files {
    /// Adds a file and its tensors.
    ///
    /// # Errors
    /// One of the tensors is in a file that was added before.
    pub(super) fn add(
        &mut self,
        name: &str,
        map: Map,
        tensors: Vec<TensorInfo>,
    ) -> Result<(), FileError> {
        let file = self.maps.len();
        self.maps.push(map);
        self.names.push(name.to_owned());
        for tensor in tensors {
            if let Some(first) = self.places.insert(tensor.name.clone(), file) {
                let (tensor, first) =
                    (tensor.name.as_str().into(), self.names[first].as_str().into());
                return Err(FileError::new(name, Fault::Duplicate { tensor, first }));
            }
            self.tensors.push(TensorInfo { file, ..tensor });
        }
        Ok(())
    }

    /// Number of files.
    pub(crate) const fn len(&self) -> usize {
        self.maps.len()
    }

    /// The bytes of one of its tensors, mapped until dropped.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn bytes(&self, tensor: &TensorInfo) -> Result<Mapped, ModelError> {
        Ok(self.maps[tensor.file].range(tensor.bytes.clone())?)
    }
}
