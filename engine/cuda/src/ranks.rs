//! What several devices have, summed or joined: brought together by [`Peers`], then put in order by
//! a kernel.
//!
//! NCCL could sum by itself, but in an order that depends on the size of a step. Here all parts go
//! everywhere and each rank adds them up in the order of ranks, so that all have the same bits, in
//! steps of any size.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::OpenError;
use crate::buffer::{Buffer, Element};
use crate::module::{Function, Modules};
use crate::peers::Peers;
use crate::queue::{Grid, Queue};

/// The kernels.
pub(crate) struct RankKernels {
    sum: Function,
    join: Function,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Sum {
    parts: u64,
    out: u64,
    count: u64,
    ranks: i32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Join {
    parts: u64,
    out: u64,
    rows: i32,
    width: i32,
    ranks: i32,
}

/// Columns of a block.
const COLS: usize = 256;

impl RankKernels {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            sum: modules.function("ranks", "ranks_sum")?,
            join: modules.function("ranks", "ranks_join")?,
        })
    }

    /// `out = sum of the parts`, the first rank's first.
    pub(crate) fn sum(&self, queue: &Queue, ranks: usize, parts: &Buffer, out: &mut Buffer) {
        let (rows, width) = (parts.rows() / ranks, parts.width());
        assert_eq!(out.width(), width, "width of a sum over ranks");
        out.begin(rows, Element::F32);
        let params = Sum {
            parts: parts.held(Element::F32),
            out: out.pointer(),
            count: (rows * width) as u64,
            ranks: ranks as i32,
        };
        let grid = Grid::new(((rows * width).div_ceil(COLS), 1), COLS);
        // SAFETY: there are as many rows of each rank, and room for as many.
        unsafe { queue.launch(self.sum, grid, &params) };
    }

    /// `out[t] = part[t] of the first rank | part[t] of the second | ...`.
    pub(crate) fn join(&self, queue: &Queue, ranks: usize, parts: &Buffer, out: &mut Buffer) {
        let (rows, width) = (parts.rows() / ranks, parts.width());
        assert_eq!(out.width(), ranks * width, "width of what ranks have together");
        out.begin(rows, Element::F32);
        let params = Join {
            parts: parts.held(Element::F32),
            out: out.pointer(),
            rows: rows as i32,
            width: width as i32,
            ranks: ranks as i32,
        };
        let mut grid = Grid::new((width.div_ceil(COLS), rows), COLS);
        grid.blocks.2 = ranks;
        // SAFETY: there are as many rows of each rank, and room for as many that are as wide.
        unsafe { queue.launch(self.join, grid, &params) };
    }
}

/// Brings a buffer of each rank to all of them, the first one's first.
pub(crate) fn exchange(queue: &Queue, peers: &Peers, x: &Buffer, parts: &mut Buffer) {
    assert_eq!(parts.width(), x.width(), "width of what ranks exchange");
    parts.begin(peers.of() * x.rows(), Element::F32);
    let (from, to) = (x.held(Element::F32), parts.pointer());
    // SAFETY: both sides cover as many elements, of one rank and of all.
    unsafe { peers.all_gather(queue, from, to, x.rows() * x.width()) };
}
