//! A step's layout on the device, and how it gets there.
//!
//! The host packs it into page-locked memory, and a kernel takes it from there to fixed places. A
//! few such packings are used in turn, so that a step can be staged while others run; the event of
//! each says when the device is done with it.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use cudarc::driver::CudaEvent;
use cudarc::driver::sys::CUevent_flags;
use engine_backend::{BackendError, CacheShape, Draw, LOGPROBS_MAX, Sample, StepLayout};

use crate::event::LOGPROB_WORDS;
use crate::fault::device_error;
use crate::graph::Sizes;
use crate::memory::Memory;
use crate::pieces::{Lone, Piece, Room, STRETCH, rounded};
use crate::pinned::Pinned;
use crate::queue::Queue;
use crate::tally::{Tallies, TallyKernels};

/// Most query heads that are computed together.
pub(crate) const QUERIES: usize = 16;
/// Most bytes of what stretches of attention leave for each other.
const PARTIAL_BYTES_MAX: usize = 64 << 20;
/// Blocks of attention that keep a multiprocessor busy.
const BLOCKS_EACH: usize = 2;
/// Steps that may be staged and not waited for, and the one before them.
const SLOTS: usize = 5;
/// Positions of a step that may recur; larger ones keep the device busy without a graph.
const RECURRING_MAX: usize = 256;
/// The mark of an input token that the device has; the rest is a seat.
const INHERITED: u32 = 1 << 31;

/// A layout, staged.
pub struct Step {
    limits: Limits,
    memory: Memory,
    places: Places,
    slots: Vec<Arc<Slot>>,
    current: usize,
    counts: Counts,
    /// Of spans of several positions, how many each has.
    lengths: Vec<usize>,
    lone: Vec<Lone>,
    pieces: Vec<Piece>,
    spans: Vec<DeviceSpan>,
    wanted: Vec<Wanted>,
    tallies: Tallies,
}

/// A row that asks for log-probabilities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) row: usize,
    /// How many alternatives.
    pub(crate) top: u32,
}

/// What a step holds at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) tokens: usize,
    pub(crate) blocks: usize,
    room: Room,
    /// Floats that a stretch of attention leaves, and what counts who has.
    partial: usize,
    heads: usize,
}

/// What the staged step holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) tokens: usize,
    pub(crate) samples: usize,
    pub(crate) pieces: usize,
}

/// One packing of a layout, and what its step draws.
pub(crate) struct Slot {
    packed: Pinned,
    told: Pinned,
    pub(crate) drawn: Pinned,
    pub(crate) logprobs: Pinned,
    pub(crate) begin: CudaEvent,
    pub(crate) end: CudaEvent,
}

/// Where things are in the step's memory, in bytes.
#[derive(Clone, Copy, Debug)]
struct Places {
    tokens: usize,
    positions: usize,
    slots: usize,
    draws: usize,
    spans: usize,
    pieces: usize,
    blocks: usize,
    drawn: usize,
    logprobs: usize,
    seats: usize,
    partial: usize,
    arrivals: usize,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DeviceSpan {
    first: u32,
    count: u32,
    start: u32,
    blocks: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DeviceDraw {
    token: u32,
    seat: u32,
    position: u32,
    top_k: u32,
    seed: u64,
    temperature: f32,
    top_p: f32,
    min_p: f32,
    repetition: f32,
    frequency: f32,
    presence: f32,
    penalised: u32,
    logprobs: u32,
    unused: [u32; 2],
}

impl From<&Sample> for DeviceDraw {
    fn from(sample: &Sample) -> Self {
        let Draw { temperature, top_k, top_p, min_p, seed, penalties, logprobs } = sample.draw;
        Self {
            token: sample.token as u32,
            seat: sample.seat as u32,
            position: sample.position,
            top_k,
            seed,
            temperature,
            top_p,
            min_p,
            repetition: penalties.map_or(1.0, |penalties| penalties.repetition),
            frequency: penalties.map_or(0.0, |penalties| penalties.frequency),
            presence: penalties.map_or(0.0, |penalties| penalties.presence),
            penalised: u32::from(penalties.is_some()),
            logprobs: logprobs.map_or(0, |top| top + 1),
            unused: [0; 2],
        }
    }
}

/// Words from one draw to the next.
pub(crate) const DRAW_WORDS: usize = size_of::<DeviceDraw>() / size_of::<u32>();

/// A part of a packing, and where the device wants it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Part {
    to: u64,
    from: u32,
    words: u32,
}

impl Limits {
    /// Given the caches that there are, and a device of so many multiprocessors.
    pub(crate) fn new(
        (rows, tokens, blocks): (usize, usize, usize),
        caches: &[CacheShape],
        multiprocessors: usize,
    ) -> Self {
        let most = |of: fn(&CacheShape) -> usize| caches.iter().map(of).max().unwrap_or(1);
        let heads = most(|shape| shape.heads);
        let partial = most(|shape| shape.heads * QUERIES * (shape.dim + 4));
        let stretches = blocks.saturating_mul(most(|shape| shape.block_size)) / STRETCH + rows;
        let room = Room {
            busy: (BLOCKS_EACH * multiprocessors / heads).max(1),
            slots: stretches.min(PARTIAL_BYTES_MAX / (size_of::<f32>() * partial).max(1)),
        };
        Self { rows, tokens, blocks, room, partial, heads }
    }

    fn pieces(&self) -> usize {
        self.room.pieces_max(self.rows)
    }

    fn words(&self) -> usize {
        let spans = size_of::<DeviceSpan>() * self.rows + size_of::<Piece>() * self.pieces();
        let draws = size_of::<DeviceDraw>() * self.rows;
        // Every part may begin up to a draw's alignment later.
        3 * self.tokens + self.blocks + (spans + draws) / size_of::<u32>() + 16
    }
}

impl Step {
    pub(crate) fn new(queue: &Queue, limits: Limits, vocab: usize) -> Result<Self, BackendError> {
        let (places, bytes) = Places::new(&limits);
        let memory = Memory::new(queue.context(), bytes)?;
        queue.fill_with(&memory, 0)?;
        let slot = |_| Slot::new(queue, &limits).map(Arc::new);
        Ok(Self {
            limits,
            memory,
            places,
            slots: (0..SLOTS).map(slot).collect::<Result<_, _>>()?,
            current: 0,
            counts: Counts::default(),
            lengths: Vec::with_capacity(limits.rows),
            lone: Vec::with_capacity(limits.rows),
            pieces: Vec::with_capacity(limits.pieces()),
            spans: Vec::with_capacity(limits.rows),
            wanted: Vec::with_capacity(limits.rows),
            tallies: Tallies::new(queue, limits.rows, vocab)?,
        })
    }

    /// Bytes that a step within these limits takes.
    pub(crate) fn bytes(limits: Limits) -> usize {
        Places::new(&limits).1
    }

    /// Packs a layout into the next slot, and says what the device is to take from it.
    ///
    /// # Panics
    /// If the layout is larger than the step, or too many steps were staged and not waited for.
    pub(crate) fn pack(&mut self, queue: &Queue, layout: &StepLayout) -> (u64, Part, [Part; 6]) {
        self.check(layout);
        self.cut(layout);
        self.want(layout);
        self.current = (self.current + 1) % SLOTS;
        let at = |place| self.memory.at(place);
        let places = self.places;
        let slot = Arc::get_mut(&mut self.slots[self.current]);
        let slot = slot.expect("no more steps are in flight than there are slots");
        // It has passed long ago, unless nobody waited for that step.
        queue.faults().note(slot.end.synchronize());
        let mut packing = Packing { words: slot.packed.words_mut(), used: 0 };
        let tokens = packing.tokens(layout, at(places.tokens));
        let parts = [
            packing.draws(layout, at(places.draws)),
            packing.part(&layout.positions, at(places.positions)),
            packing.part(&layout.slots, at(places.slots)),
            packing.part(bytemuck::cast_slice(&self.spans), at(places.spans)),
            packing.part(bytemuck::cast_slice(&self.pieces), at(places.pieces)),
            packing.part(&layout.blocks, at(places.blocks)),
        ];
        (slot.packed.pointer(), tokens, parts)
    }

    /// Begins the layout's tallies anew, after it was packed.
    pub(crate) fn tell(&mut self, queue: &Queue, kernels: &TallyKernels, layout: &StepLayout) {
        if layout.tallies.is_empty() {
            return;
        }
        let slot = Arc::get_mut(&mut self.slots[self.current]);
        let Slot { told, end, .. } = slot.expect("nobody waits for a step that isn't launched");
        self.tallies.begin(queue, kernels, layout, (told, end));
    }

    fn want(&mut self, layout: &StepLayout) {
        self.wanted.clear();
        for (row, sample) in layout.samples.iter().enumerate() {
            let top = sample.draw.logprobs;
            assert!(top.is_none_or(|top| top <= LOGPROBS_MAX), "{top:?} alternatives");
            self.wanted.extend(top.map(|top| Wanted { row, top }));
        }
    }

    fn check(&self, layout: &StepLayout) {
        let Limits { rows, tokens, blocks, .. } = self.limits;
        let count = layout.tokens.len();
        assert!(count <= tokens, "{count} tokens in a step of {tokens}");
        assert!(layout.spans.len() <= rows, "more rows than {rows}");
        assert!(layout.samples.len() <= rows, "more samples than {rows}");
        assert!(layout.blocks.len() <= blocks, "more blocks than {blocks}");
        assert_eq!(layout.positions.len(), count, "a position for each token");
        assert_eq!(layout.slots.len(), count, "a slot for each token");
    }

    /// Tells spans of several positions from lone ones, and cuts the attention of these.
    fn cut(&mut self, layout: &StepLayout) {
        self.lengths.clear();
        self.spans.clear();
        self.lone.clear();
        let narrow = |size: usize| u32::try_from(size).expect("sizes of a step fit 32 bits");
        for span in &layout.spans {
            let count = span.tokens.len();
            let (first, start) = (narrow(span.tokens.start), narrow(span.start));
            let blocks = narrow(span.blocks.start);
            if count == 1 {
                self.lone.push(Lone { token: first, position: start, blocks });
            } else {
                self.spans.push(DeviceSpan { first, count: narrow(count), start, blocks });
                self.lengths.push(count);
            }
        }
        self.limits.room.cut(&self.lone, &mut self.pieces);
        if self.lengths.is_empty() {
            let count = rounded(self.pieces.len()).min(self.limits.pieces());
            self.pieces.resize(count, Piece::NONE);
        }
        self.counts = Counts {
            tokens: layout.tokens.len(),
            samples: layout.samples.len(),
            pieces: self.pieces.len(),
        };
    }

    /// What the launches of this step depend on, if it may come again: all its positions are alone
    /// in their spans.
    pub(crate) fn sizes(&self) -> Option<Sizes> {
        let Counts { tokens, samples, pieces } = self.counts;
        let recurs = self.is_lone() && tokens <= RECURRING_MAX;
        recurs.then_some(Sizes { tokens, samples, pieces })
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether all positions are alone in their spans.
    pub(crate) fn is_lone(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Of spans of several positions, how many each has.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slots[self.current]
    }

    /// Rows that asked for log-probabilities.
    pub(crate) fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    pub(crate) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.memory.at(self.places.tokens)
    }

    pub(crate) fn positions(&self) -> u64 {
        self.memory.at(self.places.positions)
    }

    /// The cache slot of each position.
    pub(crate) fn cache_slots(&self) -> u64 {
        self.memory.at(self.places.slots)
    }

    pub(crate) fn draws(&self) -> u64 {
        self.memory.at(self.places.draws)
    }

    pub(crate) fn spans(&self) -> u64 {
        self.memory.at(self.places.spans)
    }

    pub(crate) fn pieces(&self) -> u64 {
        self.memory.at(self.places.pieces)
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.memory.at(self.places.blocks)
    }

    pub(crate) fn drawn(&self) -> u64 {
        self.memory.at(self.places.drawn)
    }

    pub(crate) fn logprobs(&self) -> u64 {
        self.memory.at(self.places.logprobs)
    }

    pub(crate) fn seats(&self) -> u64 {
        self.memory.at(self.places.seats)
    }

    /// What stretches leave for the others of their position.
    pub(crate) fn partial(&self) -> u64 {
        self.memory.at(self.places.partial)
    }

    /// How many pieces of a position have.
    pub(crate) fn arrivals(&self) -> u64 {
        self.memory.at(self.places.arrivals)
    }
}

impl Slot {
    fn new(queue: &Queue, limits: &Limits) -> Result<Self, BackendError> {
        let context = queue.context();
        // They tell how long the device had nothing to do.
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        Ok(Self {
            packed: Pinned::new(context, limits.words())?,
            told: Pinned::new(context, Tallies::words(limits.rows))?,
            drawn: Pinned::new(context, limits.rows)?,
            logprobs: Pinned::new(context, limits.rows * LOGPROB_WORDS)?,
            begin: event().map_err(device_error)?,
            end: event().map_err(device_error)?,
        })
    }
}

impl Places {
    /// And the bytes of everything.
    fn new(limits: &Limits) -> (Self, usize) {
        const ALIGNMENT: usize = 256;
        let mut end = 0_usize;
        let mut place = |bytes: usize| {
            let start = end;
            end = (start + bytes).next_multiple_of(ALIGNMENT);
            start
        };
        let Limits { rows, tokens, blocks, room, partial, heads } = *limits;
        let places = Self {
            tokens: place(4 * tokens),
            positions: place(4 * tokens),
            slots: place(4 * tokens),
            draws: place(size_of::<DeviceDraw>() * rows),
            spans: place(size_of::<DeviceSpan>() * rows),
            pieces: place(size_of::<Piece>() * limits.pieces()),
            blocks: place(4 * blocks),
            drawn: place(4 * rows),
            logprobs: place(4 * LOGPROB_WORDS * rows),
            seats: place(4 * rows),
            partial: place(4 * partial * room.slots),
            arrivals: place(4 * heads * room.slots),
        };
        (places, end)
    }
}

/// A packing being filled.
struct Packing<'a> {
    words: &'a mut [u32],
    used: usize,
}

impl Packing<'_> {
    fn part(&mut self, words: &[u32], to: u64) -> Part {
        let from = self.used;
        self.words[from..][..words.len()].copy_from_slice(words);
        self.used += words.len();
        Part { to, from: from as u32, words: words.len() as u32 }
    }

    fn tokens(&mut self, layout: &StepLayout, to: u64) -> Part {
        let part = self.part(&layout.tokens, to);
        for inherit in &layout.inherits {
            self.words[part.from as usize + inherit.token] = INHERITED | inherit.seat as u32;
        }
        part
    }

    fn draws(&mut self, layout: &StepLayout, to: u64) -> Part {
        let from = self.used;
        for sample in &layout.samples {
            self.part(bytemuck::cast_slice(&[DeviceDraw::from(sample)]), to);
        }
        Part { to, from: from as u32, words: (self.used - from) as u32 }
    }
}
