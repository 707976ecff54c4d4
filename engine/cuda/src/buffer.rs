//! Activations and vectors on the device.

use engine_backend::BackendError;
use half::bf16;

use crate::memory::Memory;
use crate::queue::Queue;

/// How activations are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// bfloat16, as products read them.
    Bf16,
    /// Single precision.
    F32,
}

/// Activations, `[rows, width]`; up to a capacity of rows. Whoever writes them says how they are
/// held.
pub struct Buffer {
    memory: Memory,
    rows: usize,
    capacity: usize,
    width: usize,
    element: Element,
}

/// A vector of f32.
pub struct Vector {
    memory: Memory,
    length: usize,
}

impl Element {
    /// Bytes of one.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

impl Buffer {
    pub(crate) fn new(queue: &Queue, capacity: usize, width: usize) -> Result<Self, BackendError> {
        let bytes = capacity.saturating_mul(width).saturating_mul(size_of::<f32>());
        let memory = Memory::new(queue.context(), bytes)?;
        Ok(Self { memory, rows: 0, capacity, width, element: Element::F32 })
    }

    /// Rows in use.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How the rows in use are held.
    #[must_use]
    pub fn element(&self) -> Element {
        self.element
    }

    /// Waits for the device, and reads the rows in use.
    ///
    /// # Errors
    /// The device's.
    pub fn values(&self) -> Result<Vec<f32>, BackendError> {
        let count = self.rows * self.width;
        let mut values = vec![0.0_f32; count];
        match self.element {
            Element::F32 => self.memory.read(0, bytemuck::cast_slice_mut(&mut values))?,
            Element::Bf16 => {
                let mut halves = vec![0_u16; count];
                self.memory.read(0, bytemuck::cast_slice_mut(&mut halves))?;
                for (value, bits) in values.iter_mut().zip(halves) {
                    *value = bf16::from_bits(bits).to_f32();
                }
            }
        }
        Ok(values)
    }

    /// An operation is about to write so many rows, held so.
    pub(crate) fn begin(&mut self, rows: usize, element: Element) {
        assert!(rows <= self.capacity, "{rows} rows in a buffer of {}", self.capacity);
        self.rows = rows;
        self.element = element;
    }

    /// Bytes of all rows that there is room for.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// The address of the first row.
    pub(crate) fn pointer(&self) -> u64 {
        self.memory.at(0)
    }

    /// The address of the first row, which must be held so.
    pub(crate) fn held(&self, element: Element) -> u64 {
        assert_eq!(self.element, element, "how a buffer of {} is held", self.width);
        self.pointer()
    }

    /// The address of the first row, for an operation that writes what is held so.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the device writes through it")]
    pub(crate) fn held_mut(&mut self, element: Element) -> u64 {
        self.held(element)
    }

    /// Fills the first rows from the host.
    pub(crate) fn fill(
        &mut self,
        queue: &Queue,
        rows: usize,
        element: Element,
        values: &[f32],
    ) -> Result<(), BackendError> {
        assert_eq!(values.len(), rows * self.width, "a value for each place");
        self.begin(rows, element);
        match element {
            Element::F32 => self.upload(queue, bytemuck::cast_slice(values)),
            Element::Bf16 => {
                let halves: Vec<u16> =
                    values.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
                self.upload(queue, bytemuck::cast_slice(&halves))
            }
        }
    }

    /// Brings the rows in use from the host.
    pub(crate) fn upload(&self, queue: &Queue, bytes: &[u8]) -> Result<(), BackendError> {
        queue.upload_to(&self.memory, 0, bytes)
    }

    pub(crate) fn poison(&self, queue: &Queue, byte: u8) -> Result<(), BackendError> {
        queue.fill_with(&self.memory, byte)
    }
}

impl Vector {
    pub(crate) fn new(queue: &Queue, values: &[f32]) -> Result<Self, BackendError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let memory = Memory::new(queue.context(), bytes.len())?;
        queue.upload_to(&memory, 0, bytes)?;
        Ok(Self { memory, length: values.len() })
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn pointer(&self) -> u64 {
        self.memory.at(0)
    }
}
