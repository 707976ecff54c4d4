//! What the sequence at each seat has said, and how the device is told.
//!
//! A tally has a word for each token of the vocabulary, which `sample` reads and counts on; here it
//! begins anew. That happens once for a sequence that has penalties, and again when it was
//! preempted: the host then knows its whole text, and hands it over in page-locked memory, piece by
//! piece if it is long.
#![expect(unsafe_code, reason = "launches kernels")]

use bytemuck::{Pod, Zeroable};
use cudarc::driver::CudaEvent;
use engine_backend::{BIASES_MAX, BackendError, Bias, StepLayout, Tally};

use crate::OpenError;
use crate::memory::Memory;
use crate::module::{Function, Modules};
use crate::pinned::Pinned;
use crate::queue::{Grid, Queue};

/// Words of a bias: its token, and what is added.
const BIAS_WORDS: usize = 2;
/// Words that are told at once, at most, besides the pieces themselves.
const TOLD_MAX: usize = 1 << 16;

/// The kernels.
pub(crate) struct TallyKernels {
    empty: Function,
    tell: Function,
}

/// The tallies of all seats.
pub(crate) struct Tallies {
    said: Memory,
    biases: Memory,
    seats: usize,
    vocab: usize,
}

/// Where kernels find them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TallyPlaces {
    said: u64,
    biases: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Telling {
    packed: u64,
    tallies: TallyPlaces,
    vocab: i32,
}

/// As in `tally.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TextPiece {
    seat: u32,
    first: u32,
    from: u32,
    count: u32,
    given: u32,
    biases: u32,
}

/// Words of a piece.
const PIECE_WORDS: usize = size_of::<TextPiece>() / size_of::<u32>();

impl Tallies {
    pub(crate) fn new(queue: &Queue, seats: usize, vocab: usize) -> Result<Self, BackendError> {
        let [said, biases] =
            Self::parts(seats, vocab).map(|bytes| Memory::new(queue.context(), bytes));
        Ok(Self { said: said?, biases: biases?, seats, vocab })
    }

    /// Bytes on the device.
    pub(crate) fn bytes(seats: usize, vocab: usize) -> usize {
        Self::parts(seats, vocab).into_iter().sum()
    }

    /// Bytes of what is said, and of biases.
    fn parts(seats: usize, vocab: usize) -> [usize; 2] {
        const SEAT_BIASES: usize = (BIASES_MAX + 1) * BIAS_WORDS;
        [vocab, SEAT_BIASES].map(|words| seats.saturating_mul(words) * size_of::<u32>())
    }

    /// Page-locked words for as many pieces as there may be seats, and what they tell.
    pub(crate) fn words(seats: usize) -> usize {
        seats * PIECE_WORDS + TOLD_MAX
    }

    /// The tokens that a row of logits must have.
    pub(crate) fn vocab(&self) -> usize {
        self.vocab
    }

    pub(crate) fn places(&self) -> TallyPlaces {
        TallyPlaces { said: self.said.at(0), biases: self.biases.at(0) }
    }

    /// Begins the layout's tallies anew, by way of `packed`; `end` passes when the device is done
    /// with it.
    pub(crate) fn begin(
        &self,
        queue: &Queue,
        kernels: &TallyKernels,
        layout: &StepLayout,
        (packed, end): (&mut Pinned, &CudaEvent),
    ) {
        let mut round = Round { pieces: Vec::new(), used: 0, seats: self.seats };
        for tally in &layout.tallies {
            let mut text = Text::new(tally, layout);
            assert!(text.seat < self.seats && text.biases.len() <= BIASES_MAX, "within bounds");
            while !text.is_told() {
                if !round.take(&mut text, packed.words_mut()) {
                    self.tell(queue, kernels, &round.pieces, packed);
                    // The next pieces go where these are read from.
                    queue.record(end);
                    queue.faults().note(end.synchronize());
                    round.pieces.clear();
                    round.used = 0;
                }
            }
        }
        self.tell(queue, kernels, &round.pieces, packed);
    }

    fn tell(
        &self,
        queue: &Queue,
        kernels: &TallyKernels,
        pieces: &[TextPiece],
        packed: &mut Pinned,
    ) {
        const BLOCKS: usize = 16;
        let words = bytemuck::cast_slice(pieces);
        packed.words_mut()[..words.len()].copy_from_slice(words);
        let (packed, tallies) = (packed.pointer(), self.places());
        let params = Telling { packed, tallies, vocab: self.vocab as i32 };
        let grid = || Grid::new((BLOCKS, pieces.len()), 256);
        if pieces.iter().any(|piece| piece.first == 1) {
            // SAFETY: pieces name seats that there are tallies for.
            unsafe { queue.launch(kernels.empty, grid(), &params) };
        }
        // SAFETY: as above; the executor has checked the tokens, and pieces lie within `packed`.
        unsafe { queue.launch(kernels.tell, grid(), &params) };
    }
}

impl TallyKernels {
    pub(crate) fn load(modules: &Modules<'_>) -> Result<Self, OpenError> {
        let function = |name| modules.function("tally", name);
        Ok(Self { empty: function("tally_empty")?, tell: function("tally_tell")? })
    }
}

/// What is yet to be told of one tally.
struct Text<'a> {
    seat: usize,
    tokens: &'a [u32],
    given: usize,
    biases: &'a [Bias],
    begun: bool,
}

impl<'a> Text<'a> {
    fn new(tally: &Tally, layout: &'a StepLayout) -> Self {
        Self {
            seat: tally.seat,
            tokens: &layout.texts[tally.text.clone()],
            given: tally.num_prompt,
            biases: &layout.biases[tally.biases.clone()],
            begun: false,
        }
    }

    fn is_told(&self) -> bool {
        self.begun && self.tokens.is_empty()
    }
}

/// Pieces that are told at once.
struct Round {
    pieces: Vec<TextPiece>,
    used: usize,
    seats: usize,
}

impl Round {
    /// Takes as much of a text as there is room for; `false` if that is nothing.
    fn take(&mut self, text: &mut Text<'_>, words: &mut [u32]) -> bool {
        let biases = std::mem::take(&mut text.biases);
        let needed = biases.len() * BIAS_WORDS + usize::from(!text.tokens.is_empty());
        let left = TOLD_MAX - self.used;
        if needed > left || self.pieces.len() == self.seats {
            text.biases = biases;
            return false;
        }
        let count = text.tokens.len().min(left - biases.len() * BIAS_WORDS);
        let (tokens, rest) = text.tokens.split_at(count);
        let given = text.given.min(count);
        let from = self.seats * PIECE_WORDS + self.used;
        self.pieces.push(TextPiece {
            seat: text.seat as u32,
            first: u32::from(!text.begun),
            from: from as u32,
            count: count as u32,
            given: given as u32,
            biases: biases.len() as u32,
        });
        words[from..][..count].copy_from_slice(tokens);
        let pairs = words[from + count..].as_chunks_mut::<BIAS_WORDS>().0;
        for (pair, bias) in pairs.iter_mut().zip(biases) {
            *pair = [bias.token, bias.bias.to_bits()];
        }
        self.used += count + biases.len() * BIAS_WORDS;
        (text.tokens, text.given, text.begun) = (rest, text.given - given, true);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_told_in_pieces_and_its_biases_once() {
        let seats = 2;
        let layout = StepLayout {
            texts: (0..TOLD_MAX as u32 + 10).collect(),
            biases: vec![Bias { token: 7, bias: 1.5 }, Bias { token: 9, bias: -2.0 }],
            ..StepLayout::default()
        };
        let tally = Tally { seat: 1, text: 0..layout.texts.len(), num_prompt: 20, biases: 0..2 };
        let mut words = vec![0; Tallies::words(seats)];
        let mut text = Text::new(&tally, &layout);
        let mut round = Round { pieces: Vec::new(), used: 0, seats };
        assert!(round.take(&mut text, &mut words) && !text.is_told());
        assert!(!round.take(&mut text, &mut words), "the round is full");
        let piece = round.pieces[0];
        assert_eq!((piece.seat, piece.first, piece.given, piece.biases), (1, 1, 20, 2));
        assert_eq!(piece.count as usize, TOLD_MAX - 2 * BIAS_WORDS);
        let told = &words[piece.from as usize..];
        assert_eq!(told[..piece.count as usize], layout.texts[..piece.count as usize]);
        let pairs = [7, 1.5_f32.to_bits(), 9, (-2.0_f32).to_bits()];
        assert_eq!(told[piece.count as usize..][..4], pairs);
        let mut round = Round { pieces: Vec::new(), used: 0, seats };
        assert!(round.take(&mut text, &mut words) && text.is_told());
        let rest = round.pieces[0];
        assert_eq!((rest.first, rest.count, rest.given, rest.biases), (0, 14, 0, 0));
    }

    #[test]
    fn an_empty_text_still_empties_its_tally() {
        let layout = StepLayout::default();
        let tally = Tally { seat: 0, text: 0..0, num_prompt: 0, biases: 0..0 };
        let mut text = Text::new(&tally, &layout);
        let mut round = Round { pieces: Vec::new(), used: TOLD_MAX, seats: 1 };
        assert!(round.take(&mut text, &mut vec![0; Tallies::words(1)]) && text.is_told());
        assert_eq!(round.pieces[0].first, 1);
    }
}
