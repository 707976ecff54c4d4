use std::sync::Arc;

use engine_contract::{BlockId, SeatId, SequenceId, StepId, Stop, TableChange, TokenId};

use super::*;

const INFO: EngineInfo = EngineInfo {
    vocab: 100,
    context: 12,
    block_size: 4,
    num_blocks: 8,
    rows_max: 3,
    step_tokens_max: 10,
    weight_bytes: 0,
    kv_bytes: 0,
    can_be_abandoned: true,
};

fn blocks(ids: &[u32]) -> Vec<BlockId> {
    ids.iter().copied().map(BlockId).collect()
}

fn host(tokens: &[u32]) -> RowTokens {
    let text: Arc<[TokenId]> = tokens.iter().copied().map(TokenId).collect();
    let all = 0..text.len();
    RowTokens::Host(text, all)
}

/// A row of sequence `10 + seat` that draws.
fn row(seat: u32, start: u32, tokens: RowTokens, table: TableChange) -> Row {
    Row {
        sequence: SequenceId(10 + u64::from(seat)),
        seat: SeatId(seat),
        start,
        tokens,
        table,
        sample: Some(Arc::new(Sampling { seed: 7, ..Sampling::GREEDY })),
        num_prompt: 1,
    }
}

fn step(step: u64, rows: Vec<Row>) -> StepPlan {
    StepPlan { step: StepId(step), rows, stop: Stop::Empty }
}

#[test]
fn a_mixed_step_is_laid_out_row_by_row() {
    let mut stage = Stage::new(INFO);
    let mut chunk = row(0, 0, host(&[1, 2, 3, 4, 5]), TableChange::Fresh(blocks(&[6, 2])));
    chunk.sample = None;
    stage.fill(&step(0, vec![chunk, row(2, 0, host(&[9]), TableChange::Fresh(blocks(&[3])))]));

    let rows = vec![
        row(2, 1, RowTokens::Device, TableChange::Extend(vec![])),
        row(0, 5, host(&[6, 7, 8, 9]), TableChange::Extend(blocks(&[0]))),
    ];
    let layout = stage.fill(&step(1, rows));
    assert_eq!(layout.tokens, [0, 6, 7, 8, 9]);
    assert_eq!(layout.positions, [1, 5, 6, 7, 8]);
    assert_eq!(layout.slots, [13, 9, 10, 11, 0]);
    assert_eq!(layout.blocks, [3, 6, 2, 0]);
    assert_eq!(
        layout.spans,
        [
            Span { tokens: 0..1, start: 1, blocks: 0..1 },
            Span { tokens: 1..5, start: 5, blocks: 1..4 },
        ]
    );
    assert_eq!(layout.inherits, [Inherit { token: 0, seat: 2 }]);
    let draw = Draw { seed: 7, ..Draw::GREEDY };
    assert_eq!(
        layout.samples,
        [
            Sample { token: 0, seat: 2, position: 2, draw },
            Sample { token: 4, seat: 0, position: 9, draw },
        ]
    );
}

#[test]
fn a_seat_is_taken_over_with_a_prefix_that_is_cached() {
    let mut stage = Stage::new(INFO);
    stage.fill(&step(0, vec![row(1, 0, host(&[1]), TableChange::Fresh(blocks(&[5])))]));
    let mut next = row(1, 4, host(&[2]), TableChange::Fresh(blocks(&[7, 1])));
    next.sequence = SequenceId(99);
    let layout = stage.fill(&step(1, vec![next]));
    assert_eq!((&layout.slots[..], &layout.blocks[..]), (&[4][..], &[7, 1][..]));
}

#[test]
fn blocks_taken_ahead_are_kept_for_later_steps() {
    let mut stage = Stage::new(INFO);
    let layout =
        stage.fill(&step(0, vec![row(0, 0, host(&[1]), TableChange::Fresh(blocks(&[5, 6])))]));
    assert_eq!(layout.blocks, [5]);
    let rows = vec![row(0, 1, host(&[1, 1, 1, 1]), TableChange::Extend(vec![]))];
    assert_eq!(stage.fill(&step(1, rows)).blocks, [5, 6]);
}

/// What was cached, or computed in steps before, is told as well.
#[test]
fn a_tally_begins_with_the_first_draw_and_has_the_whole_text() {
    let bias = engine_contract::Bias { token: TokenId(7), bias: -1.5 };
    let sampling =
        Arc::new(Sampling { frequency_penalty: 0.5, biases: vec![bias], ..Sampling::GREEDY });
    let text: Arc<[TokenId]> = [1, 2, 3, 4, 5, 6, 2].map(TokenId).into();
    let part = |start: u32, end: usize, table| Row {
        sample: (end == text.len()).then(|| sampling.clone()),
        num_prompt: 5,
        ..row(1, start, RowTokens::Host(text.clone(), start as usize..end), table)
    };
    let tally = Tally { seat: 1, text: 0..7, num_prompt: 5, biases: 0..1 };
    let mut stage = Stage::new(INFO);
    let cached = || TableChange::Fresh(blocks(&[5, 6]));
    assert_eq!(stage.fill(&step(0, vec![part(4, 6, cached())])).tallies, []);
    let layout = stage.fill(&step(1, vec![part(6, 7, TableChange::Extend(vec![]))]));
    assert_eq!(layout.tallies, std::slice::from_ref(&tally));
    assert_eq!(layout.texts, [1, 2, 3, 4, 5, 6, 2]);
    assert_eq!(layout.biases, [Bias { token: 7, bias: -1.5 }]);
    let penalties = Penalties { repetition: 1.0, frequency: 0.5, presence: 0.0 };
    assert_eq!(layout.samples[0].draw.penalties, Some(penalties));
    // The device counts on by itself.
    let mut next = row(1, 7, RowTokens::Device, TableChange::Extend(vec![]));
    next.sample = Some(sampling.clone());
    assert_eq!(stage.fill(&step(2, vec![next])).tallies, []);
    // Whoever has the seat next has its own, if it wants any.
    assert_eq!(stage.fill(&step(3, vec![part(4, 7, cached())])).tallies, [tally]);
    let plain = row(1, 0, host(&[1]), TableChange::Fresh(blocks(&[5])));
    let layout = stage.fill(&step(4, vec![plain]));
    assert_eq!((layout.tallies.len(), layout.samples[0].draw.penalties), (0, None));
}

/// What is said when the second step has this row, after a first that gave seat 0 one position.
fn breach(second: Row) -> String {
    let mut stage = Stage::new(INFO);
    stage.fill(&step(0, vec![row(0, 0, host(&[1]), TableChange::Fresh(blocks(&[5])))]));
    let second = step(1, vec![second]);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(stage.fill(&second).clone())
    }));
    let panic = caught.expect_err("a breach of the contract");
    panic.downcast_ref::<String>().expect("a formatted message").clone()
}

#[test]
fn breaches_of_the_contract_are_named() {
    let extend = || TableChange::Extend(vec![]);
    assert_eq!(
        breach(row(3, 0, host(&[1]), TableChange::Fresh(blocks(&[1])))),
        "seat3 in an engine of 3 seats"
    );
    assert_eq!(
        breach(row(1, 0, host(&[1]), extend())),
        "seat1 extends the table of q11, but its sequence is None"
    );
    assert_eq!(
        breach(row(0, 2, host(&[1]), extend())),
        "q10 goes on at position 2, but 1 are computed"
    );
    assert_eq!(
        breach(row(0, 1, host(&[1]), TableChange::Extend(blocks(&[8])))),
        "b8 of q10 is not in the pool"
    );
    assert_eq!(breach(row(0, 1, host(&[100]), extend())), "t100 in a vocabulary of 100");
    assert_eq!(breach(row(0, 1, host(&[]), extend())), "the row of q10 computes nothing");
    assert_eq!(
        breach(row(0, 1, host(&[1; 4]), extend())),
        "the table of q10 covers 4 of 5 positions"
    );
    assert_eq!(breach(row(0, 1, host(&[1; 11]), extend())), "11 positions in a step of at most 10");
    assert_eq!(
        breach(row(1, 9, host(&[1; 4]), TableChange::Fresh(blocks(&[0, 1, 2, 3])))),
        "q11 would have 13 positions, but the context is 12"
    );
    assert_eq!(
        breach(row(1, 3, RowTokens::Device, TableChange::Fresh(blocks(&[0])))),
        "seat1 inherits a token, but its last row drew none"
    );
}

#[test]
#[should_panic(expected = "seat0 has two rows in step0")]
fn a_seat_has_one_row_in_a_step() {
    let row = row(0, 0, host(&[1]), TableChange::Fresh(blocks(&[5])));
    Stage::new(INFO).fill(&step(0, vec![row.clone(), row]));
}

#[test]
#[should_panic(expected = "4 rows in a step of at most 3")]
fn a_step_has_no_more_rows_than_seats() {
    let row = |seat| row(seat, 0, host(&[1]), TableChange::Fresh(blocks(&[seat])));
    Stage::new(INFO).fill(&step(0, (0..4).map(row).collect()));
}
