//! Ranks that are threads of one process, and what they say to each other: the definition of what
//! several devices compute together. It saves nobody time, since the threads share one memory.

use std::sync::Arc;

use engine_backend::{BackendError, Rank};
use parking_lot::{Condvar, Mutex};

use crate::buffer::Buffer;

/// A rank's seat among the others. When it is dropped, those who wait for it are told.
pub struct Peer {
    rank: Rank,
    table: Arc<Table>,
}

/// Where all ranks meet.
struct Table {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What each rank has laid down.
    parts: Vec<Vec<f32>>,
    /// Ranks that have come to the current meeting.
    arrived: usize,
    /// Meetings that have ended.
    meetings: u64,
    /// A rank that is gone.
    gone: Option<Rank>,
}

impl Peer {
    /// So many ranks that know each other.
    #[must_use]
    pub fn group(of: usize) -> Vec<Self> {
        let parts = vec![Vec::new(); of];
        let state = State { parts, arrived: 0, meetings: 0, gone: None };
        let table = Arc::new(Table { state: Mutex::new(state), changed: Condvar::new() });
        Rank::all(of).map(|rank| Self { rank, table: Arc::clone(&table) }).collect()
    }

    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    /// `parts = x of the first rank, x of the second, ...`.
    ///
    /// # Errors
    /// A rank is gone.
    pub(crate) fn exchange(&self, x: &Buffer, parts: &mut Buffer) -> Result<(), BackendError> {
        assert_eq!(parts.width(), x.width(), "width of what ranks exchange");
        parts.set_rows(self.rank.of() * x.rows());
        self.meet(|state| {
            let mine = &mut state.parts[self.rank.index()];
            mine.clear();
            mine.extend_from_slice(x.values());
        })?;
        // Nobody lays down anything new before all have left the second meeting.
        self.meet(|state| {
            let mut rest = parts.values_mut();
            for part in &state.parts {
                assert_eq!(part.len(), x.values().len(), "as much of every rank");
                let (place, after) = rest.split_at_mut(part.len());
                place.copy_from_slice(part);
                rest = after;
            }
        })
    }

    /// Does something by itself, then waits until all ranks have.
    fn meet(&self, mut mine: impl FnMut(&mut State)) -> Result<(), BackendError> {
        let mut state = self.table.state.lock();
        state.check()?;
        mine(&mut state);
        state.arrived += 1;
        if state.arrived == self.rank.of() {
            state.arrived = 0;
            state.meetings += 1;
            self.table.changed.notify_all();
            return Ok(());
        }
        let meeting = state.meetings;
        while state.meetings == meeting {
            state.check()?;
            self.table.changed.wait(&mut state);
        }
        Ok(())
    }
}

impl State {
    fn check(&self) -> Result<(), BackendError> {
        self.gone.map_or(Ok(()), |rank| {
            Err(BackendError::Device(format!("rank {} is gone", rank.index())))
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.table.state.lock().gone.get_or_insert(self.rank);
        self.table.changed.notify_all();
    }
}

/// `out = sum of the ranks' parts`, the first one's first.
pub(crate) fn sum(of: usize, parts: &Buffer, out: &mut Buffer) {
    let out = out.values_mut();
    let mut parts = parts.values().chunks_exact((parts.values().len() / of).max(1));
    out.copy_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
}

/// `out[t] = part[t] of the first rank | part[t] of the second | ...`.
pub(crate) fn join(of: usize, parts: &Buffer, out: &mut Buffer) {
    let (rows, width) = (parts.rows() / of, parts.width());
    assert_eq!(out.width(), of * width, "width of what ranks have together");
    out.set_rows(rows);
    for (at, part) in parts.values().chunks_exact(width).enumerate() {
        let (rank, row) = (at / rows, at % rows);
        out.values_mut()[(row * of + rank) * width..][..width].copy_from_slice(part);
    }
}
