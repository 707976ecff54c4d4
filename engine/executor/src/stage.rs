//! From a plan to a layout: block tables kept here, slots and inherited tokens worked out.

use engine_backend::{Bias, Draw, Inherit, Penalties, Sample, Span, StepLayout, Tally};
use engine_contract::{EngineInfo, Row, RowTokens, Sampling, StepPlan};

use crate::seats::{Seat, Sizes};

const _: () = assert!(engine_contract::BIASES_MAX <= engine_backend::BIASES_MAX);
const _: () = assert!(engine_contract::LOGPROBS_MAX <= engine_backend::LOGPROBS_MAX);

/// Fills the same layout anew for each step.
#[derive(Debug)]
pub(crate) struct Stage {
    info: EngineInfo,
    sizes: Sizes,
    seats: Vec<Seat>,
    layout: StepLayout,
}

impl Stage {
    pub(crate) fn new(info: EngineInfo) -> Self {
        let EngineInfo { block_size, num_blocks, context, .. } = info;
        let sizes = Sizes { block_size, num_blocks, context };
        let seats = (0..info.rows_max).map(|_| Seat::new(sizes)).collect();
        Self { info, sizes, seats, layout: StepLayout::default() }
    }

    /// The layout of a plan.
    ///
    /// # Panics
    /// If the plan breaks the contract of [`engine_contract::Executor`].
    pub(crate) fn fill(&mut self, plan: &StepPlan) -> &StepLayout {
        let EngineInfo { rows_max, step_tokens_max, .. } = self.info;
        let (num_rows, num_tokens) = (plan.rows.len(), plan.num_tokens());
        assert!(num_rows <= rows_max as usize, "{num_rows} rows in a step of at most {rows_max}");
        assert!(
            num_tokens <= step_tokens_max as usize,
            "{num_tokens} positions in a step of at most {step_tokens_max}"
        );
        self.layout.clear();
        for row in &plan.rows {
            assert!(row.seat.0 < rows_max, "{:?} in an engine of {rows_max} seats", row.seat);
            let seat = &mut self.seats[row.seat.0 as usize];
            seat.enter(row, plan.step, self.sizes);
            self.push(row);
        }
        &self.layout
    }

    fn push(&mut self, row: &Row) {
        let first = self.layout.tokens.len();
        self.push_tokens(row);
        self.push_positions(row);
        if let Some(sampling) = &row.sample {
            self.layout.samples.push(Sample {
                token: first + row.tokens.len() - 1,
                seat: row.seat.0 as usize,
                position: row.start + len(row),
                draw: draw(sampling),
            });
            if sampling.adjusts() && self.seats[row.seat.0 as usize].begin_tally() {
                self.push_tally(row, sampling);
            }
        }
    }

    /// All that the sequence said before the token that this row draws, and what was given to it.
    fn push_tally(&mut self, row: &Row, sampling: &Sampling) {
        let Row { sequence, seat, start, .. } = row;
        let RowTokens::Host(text, range) = &row.tokens else {
            panic!("{sequence:?} draws for the first time after a token that only the device has");
        };
        assert_eq!(range.start, *start as usize, "the text of {sequence:?} begins at its position");
        let layout = &mut self.layout;
        let (first, first_bias) = (layout.texts.len(), layout.biases.len());
        let vocab = self.info.vocab;
        for token in &text[..range.end] {
            assert!(token.0 < vocab, "{token:?} in a vocabulary of {vocab}");
            layout.texts.push(token.0);
        }
        for bias in &sampling.biases {
            assert!(bias.token.0 < vocab, "a bias of {:?} in a vocabulary of {vocab}", bias.token);
            layout.biases.push(Bias { token: bias.token.0, bias: bias.bias });
        }
        layout.tallies.push(Tally {
            seat: seat.0 as usize,
            text: first..layout.texts.len(),
            num_prompt: row.num_prompt as usize,
            biases: first_bias..layout.biases.len(),
        });
    }

    fn push_tokens(&mut self, row: &Row) {
        let layout = &mut self.layout;
        match &row.tokens {
            RowTokens::Device => {
                let token = layout.tokens.len();
                layout.inherits.push(Inherit { token, seat: row.seat.0 as usize });
                layout.tokens.push(0);
            }
            RowTokens::Host(text, range) => {
                for token in &text[range.clone()] {
                    let vocab = self.info.vocab;
                    assert!(token.0 < vocab, "{token:?} in a vocabulary of {vocab}");
                    layout.tokens.push(token.0);
                }
            }
        }
    }

    fn push_positions(&mut self, row: &Row) {
        let layout = &mut self.layout;
        let blocks = self.seats[row.seat.0 as usize].blocks();
        let size = self.sizes.block_size;
        let end = row.start + len(row);
        for position in row.start..end {
            layout.positions.push(position);
            let block = blocks[(position / size) as usize];
            layout.slots.push(block * size + position % size);
        }
        let (last, first_block) = (layout.tokens.len(), layout.blocks.len());
        // Blocks taken ahead of time are no part of this step.
        layout.blocks.extend(&blocks[..end.div_ceil(size) as usize]);
        layout.spans.push(Span {
            tokens: last - row.tokens.len()..last,
            start: row.start as usize,
            blocks: first_block..layout.blocks.len(),
        });
    }
}

fn len(row: &Row) -> u32 {
    u32::try_from(row.tokens.len()).expect("within the context")
}

fn draw(sampling: &Sampling) -> Draw {
    let Sampling { temperature, top_k, top_p, min_p, seed, logprobs, .. } = *sampling;
    let penalties = sampling.adjusts().then_some(Penalties {
        repetition: sampling.repetition_penalty,
        frequency: sampling.frequency_penalty,
        presence: sampling.presence_penalty,
    });
    Draw { temperature, top_k, top_p, min_p, seed, penalties, logprobs }
}

#[cfg(test)]
mod tests;
