//! The activation of a gated MLP (Shazeer, "GLU Variants Improve Transformer", 2020).
#![expect(unsafe_code, reason = "launches kernels")]

use engine_backend::Activation;

use crate::OpenError;
use crate::buffer::{Buffer, Element};
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};

/// The kernel.
pub(crate) struct Gates(Function);

#[derive(Clone, Copy)]
#[repr(C)]
struct Gated {
    gate_up: u64,
    out: u64,
    width: i32,
    gelu: i32,
}

impl Gates {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        modules.function("gated", "gated_rows").map(Self)
    }

    /// `out = activation(gate) * up`, where a row of `gate_up` is first one, then the other.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        gate_up: &Buffer,
        activation: Activation,
        out: &mut Buffer,
    ) {
        const COLS: usize = 256;
        let (rows, width) = (gate_up.rows(), out.width());
        assert_eq!(gate_up.width(), 2 * width, "width of gate and up");
        out.begin(rows, Element::Bf16);
        let params = Gated {
            gate_up: gate_up.held(Element::F32),
            out: out.pointer(),
            width: width as i32,
            gelu: i32::from(activation == Activation::Gelu),
        };
        // SAFETY: both have as many rows as there are blocks.
        unsafe { queue.launch(self.0, Grid::new((rows, width.div_ceil(COLS)), COLS), &params) };
    }
}
