//! Activations as products read them: 32 inputs of one row at a time, as bytes or as they are.

use bytemuck::Zeroable;
use engine_backend::BackendError;

use crate::simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, Zeroed, grid, run};

/// Inputs in a unit.
pub(crate) const UNIT: usize = 32;

/// Thirty-two inputs of one row.
pub(crate) trait Unit: Zeroable + Copy + Send + Sync + 'static {
    /// The form that products with such units want.
    const WANTED: Wanted;

    /// The units of all rows from `row` on.
    fn rows(x: &Activations, row: usize) -> Rows<'_, Self>;

    /// The units of what those leave of the inputs, if products are to read them too.
    fn rests(x: &Activations, row: usize) -> Option<Rows<'_, Self>>;

    /// The unit of these inputs.
    fn of<S: Simd>(s: S, x: &[f32; UNIT]) -> Self;

    /// The unit of what [`Self::of`] leaves of these inputs.
    fn rest<S: Simd>(s: S, x: &[f32; UNIT]) -> Self;
}

/// Inputs as signed bytes with one scale: `x = scale * code`.
#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(16))]
pub(crate) struct Quantised {
    /// `-127..=127`, in fours, as a product reads them.
    pub(crate) codes: [[i8; 4]; UNIT / 4],
    pub(crate) scale: f32,
    /// `scale` times the sum of all codes: what a minimum is multiplied with.
    pub(crate) sum: f32,
    /// The sum of the codes, negated: what a zero point is multiplied with.
    pub(crate) minus: i32,
    /// The same of either half.
    pub(crate) halves: [i16; 2],
}

impl Unit for Quantised {
    const WANTED: Wanted = Wanted { quantised: true, floats: false };

    fn rows(x: &Activations, row: usize) -> Rows<'_, Self> {
        Rows::new(&x.room().quantised[row..], x.rows)
    }

    fn rests(x: &Activations, row: usize) -> Option<Rows<'_, Self>> {
        let int16 = x.kind == ActivationType::Int16;
        int16.then(|| Rows::new(&x.room().rests[row..], x.rows))
    }

    #[inline(always)]
    fn of<S: Simd>(s: S, x: &[f32; UNIT]) -> Self {
        let [low, high] = halves(x);
        let (low, high) = (s.load(low), s.load(high));
        let size = |x| s.max(x, s.sub(s.zero(), x));
        let largest = s.largest(s.max(size(low), size(high)));
        // Zero, unless an input isn't finite: then the scale is not a number, and neither is any
        // output.
        let flaw = s.sum(s.fma(low, s.zero(), s.mul(high, s.zero())));
        let tiny = largest < f32::MIN_POSITIVE * 256.0;
        let inverse = s.splat(if tiny { 0.0 } else { 127.0 / largest });
        let scale = if tiny { flaw } else { largest / 127.0 + flaw };
        let codes = [s.to_i8(s.mul(low, inverse)), s.to_i8(s.mul(high, inverse))];
        let minus = codes.map(|half| -half.iter().map(|&code| i16::from(code)).sum::<i16>());
        let both = i32::from(minus[0]) + i32::from(minus[1]);
        Self {
            codes: bytemuck::cast(codes),
            scale,
            sum: scale * -both as f32,
            minus: both,
            halves: minus,
        }
    }

    #[inline(always)]
    fn rest<S: Simd>(s: S, x: &[f32; UNIT]) -> Self {
        let unit = Self::of(s, x);
        let mut rest = *x;
        for (x, code) in rest.iter_mut().zip(unit.codes.as_flattened()) {
            *x -= unit.scale * f32::from(*code);
        }
        Self::of(s, &rest)
    }
}

/// Inputs as they are.
#[derive(Clone, Copy, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Floats(pub(crate) [f32; UNIT]);

impl Unit for Floats {
    const WANTED: Wanted = Wanted { quantised: false, floats: true };

    fn rows(x: &Activations, row: usize) -> Rows<'_, Self> {
        Rows::new(&x.room().floats[row..], x.rows)
    }

    fn rests(_: &Activations, _: usize) -> Option<Rows<'_, Self>> {
        None
    }

    #[inline(always)]
    fn of<S: Simd>(_: S, x: &[f32; UNIT]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    fn rest<S: Simd>(_: S, _: &[f32; UNIT]) -> Self {
        Self([0.0; UNIT])
    }
}

fn halves(x: &[f32; UNIT]) -> [&[f32; LANES]; 2] {
    let (low, high) = x.split_at(LANES);
    [low, high].map(|half| half.try_into().expect("half a unit is as wide as a vector"))
}

/// The same unit of several rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, U> {
    /// From the first row's on.
    units: &'a [U],
    stride: usize,
}

impl<'a, U> Rows<'a, U> {
    /// Units lie unit by unit, `stride` rows each; `units` begins with the first row's first unit.
    pub(crate) fn new(units: &'a [U], stride: usize) -> Self {
        Self { units, stride }
    }

    /// The `unit`th unit of the first `R` rows.
    #[inline(always)]
    pub(crate) fn at<const R: usize>(self, unit: usize) -> &'a [U; R] {
        self.units[unit * self.stride..].first_chunk().expect("all rows have all units")
    }

    /// From the `row`th row on.
    #[inline(always)]
    pub(crate) fn skip(self, row: usize) -> Self {
        Self { units: &self.units[row..], ..self }
    }
}

/// How inputs meet quantised weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActivationType {
    /// As signed bytes, 32 of them with one scale.
    #[default]
    Int8,
    /// As two of those, the second one of what the first leaves: some fifteen bits, for up to twice
    /// the computing.
    Int16,
}

/// The input of a product, in either form; memory is kept from one to the next.
#[derive(Default)]
pub(crate) struct Activations {
    kind: ActivationType,
    room: Option<Room>,
    rows: usize,
}

/// Memory for either form; what is not used costs none.
struct Room {
    quantised: Zeroed<Quantised>,
    rests: Zeroed<Quantised>,
    floats: Zeroed<Floats>,
}

/// Which units a product reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) quantised: bool,
    pub(crate) floats: bool,
}

impl Wanted {
    /// What either wants.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { quantised: self.quantised || other.quantised, floats: self.floats || other.floats }
    }
}

impl Activations {
    pub(crate) fn new(kind: ActivationType) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Makes room for `rows` rows of `width`.
    pub(crate) fn reserve(&mut self, rows: usize, width: usize) -> Result<(), BackendError> {
        let units = rows.saturating_mul(width.div_ceil(UNIT));
        if self.room.as_ref().is_none_or(|room| room.quantised.len() < units) {
            let (quantised, rests) = (Zeroed::new(units)?, Zeroed::new(units)?);
            self.room = Some(Room { quantised, rests, floats: Zeroed::new(units)? });
        }
        Ok(())
    }

    /// Takes in `rows` rows of `x`, which are `width` wide, in the forms that are wanted.
    pub(crate) fn fill(
        &mut self,
        team: &Team,
        isa: Chosen,
        x: &[f32],
        (rows, width): (usize, usize),
        wanted: Wanted,
    ) {
        self.rows = rows;
        let room = self.room.as_mut().expect("every buffer made room for itself");
        if wanted.quantised {
            fill::<_, false>(team, isa, &mut room.quantised, x, (rows, width));
            if self.kind == ActivationType::Int16 {
                fill::<_, true>(team, isa, &mut room.rests, x, (rows, width));
            }
        }
        if wanted.floats {
            fill::<_, false>(team, isa, &mut room.floats, x, (rows, width));
        }
    }

    /// Takes in, for each of `rows`, that row of `x`, whose rows are `width` wide.
    pub(crate) fn gather(
        &mut self,
        team: &Team,
        (x, rows, width): (&Self, &[u32], usize),
        wanted: Wanted,
    ) {
        self.rows = rows.len();
        let room = self.room.as_mut().expect("room was made for all choices");
        if wanted.quantised {
            gather(team, (&x.room().quantised, x.rows), rows, width, &mut room.quantised);
            if self.kind == ActivationType::Int16 {
                gather(team, (&x.room().rests, x.rows), rows, width, &mut room.rests);
            }
        }
        if wanted.floats {
            gather(team, (&x.room().floats, x.rows), rows, width, &mut room.floats);
        }
    }

    fn room(&self) -> &Room {
        self.room.as_ref().expect("filled before it is read")
    }
}

/// Rows below which more threads cost more than they save.
const ROWS_EACH: usize = 8;
/// As many units are copied by one thread.
const GATHERED: usize = 1 << 11;

fn fill<U: Unit, const REST: bool>(
    team: &Team,
    isa: Chosen,
    units: &mut [U],
    x: &[f32],
    (rows, width): (usize, usize),
) {
    let count = width.div_ceil(UNIT);
    let all = Cuts::Every { step: count.max(1), total: count };
    grid(team, units, rows, all, Cuts::Every { step: ROWS_EACH, total: rows }, &|rect, _| {
        run(isa, Fill::<U, REST> { x, width, units: rect });
    });
}

/// Copies the units of `rows` out of `x`, which has `stride` of them.
fn gather<U: Unit>(
    team: &Team,
    (x, stride): (&[U], usize),
    rows: &[u32],
    width: usize,
    units: &mut [U],
) {
    let count = width.div_ceil(UNIT);
    // The same unit of all rows lies together, and stays near while it is copied.
    let lines = Cuts::Every { step: (GATHERED / rows.len().max(1)).max(1), total: count };
    let all = Cuts::Every { step: rows.len().max(1), total: rows.len() };
    grid(team, units, rows.len(), lines, all, &|mut rect, _| {
        for i in 0..rect.rows() {
            let x = &x[(rect.row() + i) * stride..][..stride];
            rect.line(i).iter_mut().zip(rows).for_each(|(unit, row)| *unit = x[*row as usize]);
        }
    });
}

/// Fills the units of some rows, or of what those leave of them.
struct Fill<'a, U, const REST: bool> {
    x: &'a [f32],
    width: usize,
    units: Rect<'a, U>,
}

impl<U: Unit, const REST: bool> Kernel for Fill<'_, U, REST> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        let first = self.units.col();
        for row in 0..self.units.cols() {
            let x = &self.x[(first + row) * self.width..][..self.width];
            let (whole, rest) = x.as_chunks::<UNIT>();
            for (unit, x) in whole.iter().enumerate() {
                self.units.line(unit)[row] = Self::unit(s, x);
            }
            if !rest.is_empty() {
                let mut x = [0.0; UNIT];
                x[..rest.len()].copy_from_slice(rest);
                self.units.line(whole.len())[row] = Self::unit(s, &x);
            }
        }
    }
}

impl<U: Unit, const REST: bool> Fill<'_, U, REST> {
    #[inline(always)]
    fn unit<S: Simd>(s: S, x: &[f32; UNIT]) -> U {
        if REST { U::rest(s, x) } else { U::of(s, x) }
    }
}
