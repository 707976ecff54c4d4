//! Cuts a slice of rows into rectangles, one for each task of a team.

use std::marker::PhantomData;

use super::team::Team;

/// Where a side is cut. Every piece lies after the one before.
#[derive(Clone, Copy)]
pub(crate) enum Cuts<'a> {
    /// Between these ascending places; the first and the last are the ends.
    At(&'a [usize]),
    /// Every `step` of `total`.
    Every {
        /// Length of a piece, the last may be shorter; at least 1.
        step: usize,
        /// Length of the side.
        total: usize,
    },
}

impl Cuts<'_> {
    fn len(&self) -> usize {
        match *self {
            Self::At(places) => places.len().saturating_sub(1),
            Self::Every { step, total } => total.div_ceil(step),
        }
    }

    fn end(&self) -> usize {
        match *self {
            Self::At(places) => places.last().copied().unwrap_or(0),
            Self::Every { total, .. } => total,
        }
    }

    fn piece(&self, i: usize) -> (usize, usize) {
        match *self {
            Self::At(places) => (places[i], places[i + 1]),
            Self::Every { step, total } => (i * step, total.min((i + 1) * step)),
        }
    }

    fn ascends(&self) -> bool {
        match self {
            Self::At(places) => places.is_sorted(),
            Self::Every { step, .. } => *step > 0,
        }
    }
}

/// One task's share of a slice: some columns of some rows, which nobody else has.
pub(crate) struct Rect<'a, T> {
    corner: *mut T,
    width: usize,
    row: usize,
    rows: usize,
    col: usize,
    cols: usize,
    elements: PhantomData<&'a mut [T]>,
}

impl<T> Rect<'_, T> {
    /// Its first row.
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// Number of its rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Its first column.
    pub(crate) fn col(&self) -> usize {
        self.col
    }

    /// Number of its columns.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Its part of its `i`th row.
    pub(crate) fn line(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: `grid` made `corner` point at the first element of a rectangle of `rows` by
        // `cols` in a slice of rows `width` apart, gave the rectangle to nobody else, and outlives
        // it; within the rectangle the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.corner.add(i * self.width), self.cols) }
    }
}

/// The start of a slice, for threads that take disjoint parts of it.
struct Start<T>(*mut T);

// SAFETY: the pointer is only used by `grid`, for parts that no two threads share; elements may be
// written on any thread since they are `Send`.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Cuts `out`, rows of `width`, by `rows` and `cols`, and has the team call `f` once with each
/// rectangle and the number of the thread. Rectangles come row by row, and are done in any order.
pub(crate) fn grid<T: Send>(
    team: &Team,
    out: &mut [T],
    width: usize,
    rows: Cuts<'_>,
    cols: Cuts<'_>,
    f: &(dyn Fn(Rect<'_, T>, usize) + Sync),
) {
    assert!(rows.ascends() && cols.ascends(), "cuts ascend");
    assert!(cols.end() <= width, "columns up to {} of {width}", cols.end());
    let end = rows.end().checked_mul(width).expect("sizes of slices in memory multiply");
    assert!(end <= out.len(), "{} rows of {width} in {}", rows.end(), out.len());
    let start = Start(out.as_mut_ptr());
    let across = cols.len();
    team.run(rows.len() * across, &|task, thread| {
        let (row, row_end) = rows.piece(task / across);
        let (col, col_end) = cols.piece(task % across);
        // SAFETY: `row < rows.end()` or the piece is empty, and likewise the column, so the offset
        // is within `out` or at its end. Pieces of ascending cuts don't overlap, the team gives
        // each task to one thread, and `out` stays borrowed until all have ended.
        let corner = unsafe { start.get().add(row * width + col) };
        let rect = Rect {
            corner,
            width,
            row,
            rows: row_end - row,
            col,
            cols: col_end - col,
            elements: PhantomData,
        };
        f(rect, thread);
    });
}
