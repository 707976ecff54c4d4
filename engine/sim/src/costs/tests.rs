use std::sync::Arc;

use engine_contract::{
    BlockId, Row, RowTokens, Sampling, SeatId, SequenceId, StepId, Stop, TableChange, TokenId,
};

use super::*;

const SMALL: &str = "name = 'small'\ncontext = 64\nkv_position_bytes = 8\nkv_bytes = 4096\n\
                     weight_bytes = 1\npoints_ms = [[1, 2.0], [4, 5.0], [8, 6.0]]\n\
                     sampled_us = 10.0\nread_ns = 1000.0\npair_ns = 100.0\n";

fn row(start: u32, len: usize, samples: bool) -> Row {
    Row {
        sequence: SequenceId(1),
        seat: SeatId(0),
        start,
        tokens: RowTokens::Host(vec![TokenId(1); len].into(), 0..len),
        table: TableChange::Extend(Vec::<BlockId>::new()),
        sample: samples.then(|| Arc::new(Sampling::GREEDY)),
        num_prompt: 1,
    }
}

fn micros(costs: &CostModel, rows: Vec<Row>) -> u128 {
    costs.time(&StepPlan { step: StepId(0), rows, stop: Stop::Empty }).as_micros()
}

#[test]
fn a_step_costs_its_positions_and_what_they_read() {
    let costs = CostModel::parse(SMALL).unwrap();
    assert_eq!(micros(&costs, vec![row(0, 1, false)]), 2_001, "and one read");
    assert_eq!(micros(&costs, vec![row(9, 1, true), row(19, 1, true)]), 3_000 + 20 + 30);
    assert_eq!(micros(&costs, vec![row(10, 6, false)]), 5_500 + 8, "81 pairs");
    assert_eq!(micros(&costs, vec![row(0, 16, false)]), 8_000 + 13, "on along the last line");
}

#[test]
fn the_files_that_come_along_can_be_read() {
    for costs in [CostModel::cpu(), CostModel::h100()] {
        assert!(!costs.name.is_empty());
    }
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |from: &str, to: &str| {
        assert!(SMALL.contains(from));
        CostModel::parse(&SMALL.replace(from, to)).unwrap_err().to_string()
    };
    let error = refused("read_ns", "reads_ns");
    assert!(error.contains("line 8, column 1") && error.contains("reads_ns"), "{error}");
    assert_eq!(refused("context = 64", "context = 0"), "context is 0, expected at least 1");
    assert_eq!(refused("read_ns = 1", "read_ns = -1"), "read_ns is -1000, expected from 0 to 1e9");
    assert_eq!(
        refused("[4, 5.0]", "[1, 5.0]"),
        "points_ms[1] is (1, 5.0), expected more positions than the point before, and no less \
         time, from above 0 to 1e9"
    );
    assert!(refused("[4, 5.0]", "[4, nan]").starts_with("points_ms[1] is (4, NaN)"));
    assert!(refused("[1, 2.0], [4, 5.0], ", "").contains("at least two points"));
}
