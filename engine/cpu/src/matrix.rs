//! Linear weights, packed into tiles when they are loaded.

use engine_backend::{BackendError, DType, Tensor};

use crate::{
    activation::{Activations, UNIT, Unit, Wanted},
    format::{
        Bf16, F16, F32, Format, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K,
        Q6K, Q8_0,
    },
    linear::Product,
    simd::{Chosen, Cuts, LANES, Rect, Team, Zeroed, grid, run},
};

/// A linear weight: the outputs of its parts, one part after the other.
pub struct Matrix {
    parts: Vec<Part>,
    outputs: usize,
    inputs: usize,
    /// Where the outputs are cut for the threads; every part begins at a cut.
    strips: Vec<usize>,
}

/// Weights of one type.
struct Part {
    first: usize,
    tiles: Box<dyn Tiles>,
}

impl Matrix {
    /// Packs the parts, one after the other.
    pub(crate) fn new(team: &Team, parts: &[Tensor<'_>]) -> Result<Self, BackendError> {
        let inputs = parts.first().map_or(0, |part| part.cols);
        let outputs = parts.iter().map(|part| part.rows).sum();
        let mut matrix = Self { parts: Vec::new(), outputs, inputs, strips: Vec::new() };
        let mut first = 0;
        for part in parts {
            assert_eq!(part.cols, inputs, "parts of one weight have the same inputs");
            matrix.parts.push(Part { first, tiles: pack(team, part)? });
            first += part.rows;
        }
        let mut strips = Vec::new();
        matrix.cut(strip(outputs, team.threads()), &mut strips);
        matrix.strips = strips;
        Ok(matrix)
    }

    /// Cuts the outputs every `step`, a whole number of tiles, and where a part begins.
    pub(crate) fn cut(&self, step: usize, strips: &mut Vec<usize>) {
        strips.clear();
        let ends = self.parts.iter().skip(1).map(|part| part.first).chain([self.outputs]);
        for (part, end) in self.parts.iter().zip(ends) {
            strips.extend((part.first..end).step_by(step));
        }
        strips.push(self.outputs);
    }

    /// Number of outputs, over all parts.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes that the weights take, packed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.tiles.bytes()).sum()
    }

    /// The weights of one output, as floats.
    ///
    /// # Panics
    /// If there is no such output, or `weights` doesn't have one place for each input.
    pub fn output(&self, output: usize, weights: &mut [f32]) {
        assert!(output < self.outputs, "output {output} of {}", self.outputs);
        assert_eq!(weights.len(), self.inputs, "a place for each input");
        let part = self.part(output);
        part.tiles.output(output - part.first, weights);
    }

    /// Which units its products read.
    pub(crate) fn wanted(&self) -> Wanted {
        self.parts.iter().fold(Wanted::default(), |sum, part| sum.and(part.tiles.wanted()))
    }

    pub(crate) fn strips(&self) -> Cuts<'_> {
        Cuts::At(&self.strips)
    }

    /// Writes the products of `x` with the outputs that `out` covers, which are one strip's.
    pub(crate) fn product(
        &self,
        isa: Chosen,
        x: &Activations,
        bias: Option<&[f32]>,
        out: Rect<'_, f32>,
    ) {
        let part = self.part(out.col());
        part.tiles.product(isa, x, part.first, bias, out);
    }

    fn part(&self, output: usize) -> &Part {
        let after = self.parts.partition_point(|part| part.first <= output);
        &self.parts[after - 1]
    }
}

/// Outputs in a strip: several strips for each thread, so that one which was preempted is made up
/// for, but enough work in each to be worth the taking.
pub(crate) fn strip(outputs: usize, threads: usize) -> usize {
    const STRIPS_EACH: usize = 8;
    const TILES_MAX: usize = 64;
    let tiles = outputs.div_ceil(LANES);
    LANES * (tiles / (threads * STRIPS_EACH)).clamp(1, TILES_MAX)
}

/// The one place that knows which type has which layout.
fn pack(team: &Team, part: &Tensor<'_>) -> Result<Box<dyn Tiles>, BackendError> {
    Ok(match part.dtype {
        DType::Bf16 => Box::new(Packed::<Bf16>::new(team, part)?),
        DType::F16 => Box::new(Packed::<F16>::new(team, part)?),
        DType::F32 => Box::new(Packed::<F32>::new(team, part)?),
        DType::Iq4Nl => Box::new(Packed::<Iq4Nl>::new(team, part)?),
        DType::Iq4Xs => Box::new(Packed::<Iq4Xs>::new(team, part)?),
        DType::Mxfp4 => Box::new(Packed::<Mxfp4>::new(team, part)?),
        DType::Q2K => Box::new(Packed::<Q2K>::new(team, part)?),
        DType::Q3K => Box::new(Packed::<Q3K>::new(team, part)?),
        DType::Q4_0 => Box::new(Packed::<Q4_0>::new(team, part)?),
        DType::Q4_1 => Box::new(Packed::<Q4_1>::new(team, part)?),
        DType::Q4K => Box::new(Packed::<Q4K>::new(team, part)?),
        DType::Q5_0 => Box::new(Packed::<Q5_0>::new(team, part)?),
        DType::Q5_1 => Box::new(Packed::<Q5_1>::new(team, part)?),
        DType::Q5K => Box::new(Packed::<Q5K>::new(team, part)?),
        DType::Q6K => Box::new(Packed::<Q6K>::new(team, part)?),
        DType::Q8_0 => Box::new(Packed::<Q8_0>::new(team, part)?),
    })
}

/// Packed weights of some type.
trait Tiles: Send + Sync {
    fn bytes(&self) -> usize;
    fn wanted(&self) -> Wanted;
    fn output(&self, output: usize, weights: &mut [f32]);
    /// `first` is the column of the part's first output.
    fn product(
        &self,
        isa: Chosen,
        x: &Activations,
        first: usize,
        bias: Option<&[f32]>,
        out: Rect<'_, f32>,
    );
}

/// Tiles of one format, each `across` blocks.
struct Packed<F: Format> {
    blocks: Zeroed<F::Block>,
    across: usize,
}

impl<F: Format> Packed<F> {
    fn new(team: &Team, part: &Tensor<'_>) -> Result<Self, BackendError> {
        let row_bytes = part.dtype.row_bytes(part.cols).expect("columns are whole blocks");
        let across = part.cols.div_ceil(F::UNITS * UNIT);
        let tiles = part.rows.div_ceil(LANES);
        let mut blocks = Zeroed::<F::Block>::new(tiles * across)?;
        let tile = Cuts::Every { step: across.max(1), total: across };
        grid(team, &mut blocks, across, Cuts::Every { step: 4, total: tiles }, tile, &|rect, _| {
            Self::fill(rect, part, row_bytes);
        });
        Ok(Self { blocks, across })
    }

    fn fill(mut tiles: Rect<'_, F::Block>, part: &Tensor<'_>, row_bytes: usize) {
        for i in 0..tiles.rows() {
            let first = (tiles.row() + i) * LANES;
            let bytes = part.bytes(first..part.rows.min(first + LANES));
            for (row, bytes) in bytes.chunks(row_bytes.max(1)).enumerate() {
                for (block, bytes) in tiles.line(i).iter_mut().zip(bytes.chunks(F::FILE_BYTES)) {
                    F::pack(block, row, bytes);
                }
            }
        }
    }
}

impl<F: Format> Tiles for Packed<F> {
    fn bytes(&self) -> usize {
        size_of_val::<[F::Block]>(&self.blocks)
    }

    fn wanted(&self) -> Wanted {
        F::Unit::WANTED
    }

    fn output(&self, output: usize, weights: &mut [f32]) {
        let tile = &self.blocks[output / LANES * self.across..][..self.across];
        for (block, weights) in tile.iter().zip(weights.chunks_mut(F::UNITS * UNIT)) {
            F::unpack(block, output % LANES, weights);
        }
    }

    fn product(
        &self,
        isa: Chosen,
        x: &Activations,
        first: usize,
        bias: Option<&[f32]>,
        out: Rect<'_, f32>,
    ) {
        let tiles = out.cols().div_ceil(LANES);
        let blocks = &self.blocks[(out.col() - first) / LANES * self.across..];
        let blocks = &blocks[..tiles * self.across];
        let (x, rests) = (F::Unit::rows(x, out.row()), F::Unit::rests(x, out.row()));
        run(isa, Product::<F> { blocks, across: self.across, x, rests, bias, out });
    }
}
