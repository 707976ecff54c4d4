//! What every product has in common: its parameters, and which shape of kernel computes it.

use crate::buffer::{Buffer, Element, Vector};
use crate::format::{Format, UNIT_INPUTS, UNIT_OUTPUTS, units};
use crate::matrix::{Matrix, Part};
use crate::module::{Function, Modules};
use crate::queue::Grid;
use crate::{DeviceInfo, OpenError, pipelined, skinny};

/// Most bytes of shared memory with which two blocks fit beside each other.
const SHARED_MAX: usize = 100 << 10;

/// Rows of one product, and the weight that they meet; as in `kernels/device/job.cuh`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Job {
    pub(crate) weight: u64,
    pub(crate) x: u64,
    pub(crate) rows: u64,
    pub(crate) out: u64,
    pub(crate) bias: u64,
    pub(crate) first: i32,
    pub(crate) count: i32,
    pub(crate) inputs: i32,
    pub(crate) outputs: i32,
    pub(crate) width: i32,
    pub(crate) slice: i32,
}

impl Job {
    /// All rows of `x` with a part of a weight, whose outputs and biases lie where the part begins.
    pub(crate) fn of_rows(
        part: &Part,
        (x, weight, bias): (&Buffer, &Matrix, Option<&Vector>),
        out: &Buffer,
    ) -> Self {
        let first = 4 * part.first as u64;
        Self {
            weight: part.memory.at(0),
            x: x.held(Element::Bf16),
            rows: 0,
            out: out.pointer() + first,
            bias: bias.map_or(0, |bias| bias.pointer() + first),
            first: 0,
            count: x.rows() as i32,
            inputs: weight.inputs as i32,
            outputs: part.outputs as i32,
            width: weight.outputs as i32,
            slice: slice(weight.inputs) as i32,
        }
    }
}

/// Begins what a product gives.
///
/// # Panics
/// If the widths of its operands are none that meet.
pub(crate) fn begin((x, weight, bias): (&Buffer, &Matrix, Option<&Vector>), out: &mut Buffer) {
    let Matrix { outputs, inputs, .. } = *weight;
    assert_eq!(x.width(), inputs, "inputs of a product");
    assert_eq!(out.width(), outputs, "outputs of a product");
    assert!(bias.is_none_or(|bias| bias.length() == outputs), "a bias for each output");
    out.begin(x.rows(), Element::F32);
}

/// How the rows of a product are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Eight rows, a warp for each slice of the inputs.
    Skinny,
    /// So many rows, through shared memory: 16, 32, 64 or 128.
    Tiled(usize),
}

/// A kernel's instances for every format.
pub(crate) struct Instances(Vec<Function>);

/// One operation's kernels of every format, in every shape that others don't compute.
pub(crate) struct Products(Vec<Vec<Function>>);

impl Shape {
    const ALL: [Self; 5] =
        [Self::Skinny, Self::Tiled(16), Self::Tiled(32), Self::Tiled(64), Self::Tiled(128)];

    /// The one for so many rows that meet a weight, where a block may have so many bytes of shared
    /// memory.
    pub(crate) fn of(rows: usize, inputs: usize, shared_bytes: usize) -> Self {
        let skinny = skinny::streamed_bytes(inputs, rows, 1) <= SHARED_MAX;
        match rows {
            0..=8 if skinny => Self::Skinny,
            0..=16 => Self::Tiled(16),
            17..=32 => Self::Tiled(32),
            33..=256 => Self::Tiled(64),
            _ => Self::largest(shared_bytes),
        }
    }

    /// The one for many rows.
    pub(crate) fn largest(shared_bytes: usize) -> Self {
        let largest = Self::Tiled(128);
        let fits = largest.shared(Format::Bf16, 0) <= shared_bytes;
        if fits { largest } else { Self::Tiled(64) }
    }

    /// Rows that a block computes.
    pub(crate) const fn rows(self) -> usize {
        match self {
            Self::Skinny => skinny::ROWS_MAX,
            Self::Tiled(rows) => rows,
        }
    }

    /// Outputs that a block computes.
    pub(crate) const fn outputs(self) -> usize {
        match self {
            Self::Skinny => UNIT_OUTPUTS,
            Self::Tiled(128) => 8 * UNIT_OUTPUTS,
            Self::Tiled(_) => 4 * UNIT_OUTPUTS,
        }
    }

    /// Blocks for so many outputs, their threads, and their shared memory.
    pub(crate) fn grid(self, format: Format, outputs: usize, inputs: usize) -> Grid {
        let tiles = outputs.div_ceil(UNIT_OUTPUTS);
        let (blocks, warps) = match self {
            Self::Skinny => (tiles, slices(inputs).max(1)),
            Self::Tiled(_) => {
                let warps = self.outputs() / UNIT_OUTPUTS;
                (tiles.div_ceil(warps), warps)
            }
        };
        let shared = self.shared(format, inputs);
        Grid { blocks: (blocks, 1, 1), threads: 32 * warps, shared }
    }

    fn shared(self, format: Format, inputs: usize) -> usize {
        match self {
            Self::Skinny => skinny::streamed_bytes(inputs, skinny::ROWS_MAX, 1),
            Self::Tiled(rows) => {
                let warps = self.outputs() / UNIT_OUTPUTS;
                let stage = warps * format.unit_bytes() + 2 * rows * UNIT_INPUTS;
                // Swizzled rows begin at whole kilobytes.
                let stages = if rows > 64 { 5 } else { 4 };
                stages * stage.next_multiple_of(1024)
            }
        }
    }
}

impl Instances {
    /// Kernels named for the operation and the format.
    pub(crate) fn load(modules: &Modules<'_>, image: &str, name: &str) -> Result<Self, OpenError> {
        let of = |format: Format| modules.function(image, &format!("{name}_{}", format.name()));
        Ok(Self(Format::ALL.into_iter().map(of).collect::<Result<_, _>>()?))
    }

    pub(crate) fn get(&self, format: Format) -> Function {
        self.0[format as usize]
    }
}

impl Products {
    /// Kernels named for the operation, the shape and the format; those of tiles where nothing else
    /// does their work.
    pub(crate) fn load(
        modules: &Modules<'_>,
        image: &str,
        info: &DeviceInfo,
    ) -> Result<Self, OpenError> {
        let shapes = if pipelined::are_for(info) { &Shape::ALL[..1] } else { &Shape::ALL[..] };
        let of = |format: Format| -> Result<Vec<Function>, OpenError> {
            let name = |shape: &Shape| match shape {
                Shape::Skinny => format!("{image}_skinny_1_{}", format.name()),
                Shape::Tiled(rows) => format!("{image}_tiled_{}_{}", rows / 8, format.name()),
            };
            shapes.iter().map(|shape| modules.function(image, &name(shape))).collect()
        };
        Ok(Self(Format::ALL.into_iter().map(of).collect::<Result<_, _>>()?))
    }

    pub(crate) fn get(&self, format: Format, shape: Shape) -> Function {
        let shape = Shape::ALL.iter().position(|known| *known == shape);
        self.0[format as usize][shape.expect("all shapes are listed")]
    }
}

/// Units in a slice of the inputs. It decides the order of sums, so it is a function of nothing
/// but the weight.
pub(crate) const fn slice(inputs: usize) -> usize {
    let units = units(inputs);
    let slices = if units >= 16 { 8 } else { 4 };
    if units == 0 { 1 } else { units.div_ceil(slices) }
}

/// How many slices there are.
pub(crate) const fn slices(inputs: usize) -> usize {
    units(inputs).div_ceil(slice(inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_skinny_unless_they_are_too_wide() {
        let of = |rows, inputs| Shape::of(rows, inputs, 227 << 10);
        assert_eq!(of(1, 2048), Shape::Skinny);
        assert_eq!(of(8, 4096), Shape::Skinny);
        assert_eq!(of(8, 25_600), Shape::Tiled(16));
        assert_eq!(of(9, 64), Shape::Tiled(16));
        assert_eq!(of(33, 64), Shape::Tiled(64));
        assert_eq!(of(257, 64), Shape::Tiled(128));
        assert_eq!(Shape::of(257, 64, 99 << 10), Shape::Tiled(64));
    }

    #[test]
    fn slices_cover_all_units() {
        for inputs in [8, 64, 576, 768, 2048, 4096, 25_600] {
            let warps = Shape::Skinny.grid(Format::Bf16, 16, inputs).threads / 32;
            assert!((1..=8).contains(&warps), "{warps} warps for {inputs} inputs");
            assert!(warps * slice(inputs) >= units(inputs));
            assert!((warps - 1) * slice(inputs) < units(inputs), "every warp has something to do");
        }
    }

    #[test]
    fn blocks_have_the_shared_memory_that_gpus_have() {
        for format in Format::ALL {
            for shape in Shape::ALL {
                let most = if shape == Shape::Tiled(128) { 164 << 10 } else { SHARED_MAX };
                assert!(shape.grid(format, 16, 4096).shared < most, "{format:?} {shape:?}");
            }
        }
    }
}
