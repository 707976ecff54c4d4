//! Writes GGUF files, right ones and wrong ones.

/// A file to be. Every field may be changed before [`Self::finish`].
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    pub(crate) alignment: u64,
    /// Counts that are written instead of the true ones.
    pub(crate) num_tensors: Option<u64>,
    pub(crate) num_keys: Option<u64>,
    /// Each key with its value, the value's type before it.
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<Listed>,
}

#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) name: String,
    /// Innermost first.
    pub(crate) dimensions: Vec<u64>,
    /// ggml's number of the element type.
    pub(crate) code: u32,
    pub(crate) data: Vec<u8>,
    /// Written instead of where `data` goes.
    pub(crate) offset: Option<u64>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            alignment: 32,
            num_tensors: None,
            num_keys: None,
            keys: Vec::new(),
            tensors: Vec::new(),
        }
    }

    pub(crate) fn value(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys.push((key.to_owned(), [&kind.to_le_bytes(), value].concat()));
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.value(key, 4, &value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.value(key, 6, &value.to_le_bytes());
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        self.value(key, 8, &string(value));
    }

    pub(crate) fn strings(&mut self, key: &str, values: &[&str]) {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| string(value)));
        self.value(key, 9, &bytes);
    }

    pub(crate) fn tensor(&mut self, name: &str, dimensions: &[u64], code: u32, data: Vec<u8>) {
        let (name, dimensions) = (name.to_owned(), dimensions.to_vec());
        self.tensors.push(Listed { name, dimensions, code, data, offset: None });
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.num_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.num_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            file.extend(string(key));
            file.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            file.extend(string(&tensor.name));
            file.extend((tensor.dimensions.len() as u32).to_le_bytes());
            file.extend(tensor.dimensions.iter().flat_map(|size| size.to_le_bytes()));
            file.extend(tensor.code.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
            self.pad(&mut data);
        }
        self.pad(&mut file);
        file.extend(data);
        file
    }

    fn pad(&self, bytes: &mut Vec<u8>) {
        bytes.resize(bytes.len().next_multiple_of(self.alignment as usize), 0);
    }
}

fn string(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat()
}
