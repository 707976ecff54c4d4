//! Which experts positions choose.

use std::ops::Range;

use engine_backend::{BackendError, Router};

use crate::{
    buffer::Buffer,
    exp::{exp, exp_of},
    simd::{Chosen, Cuts, Kernel, LANES, Rect, Simd, Team, grid, run},
};

/// Rows of a task.
const ROWS_EACH: usize = 8;

/// The choices of a step's positions, those of the rank's experts in the order of experts, and of
/// positions for each.
pub struct Routes {
    /// Of each position, the largest weight first.
    choices: Vec<Choice>,
    /// How many each position has.
    chosen: usize,
    /// The experts of the rank's share.
    held: Range<usize>,
    /// The position of each choice of these.
    positions: Vec<u32>,
    /// Where the choices of each of these begin; then where the last one's end.
    starts: Vec<usize>,
}

/// That a position goes to an expert.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choice {
    /// The expert.
    pub expert: u32,
    /// The row that it has among the choices of the rank's experts; [`Choice::ELSEWHERE`] if its
    /// expert is none of them.
    pub row: u32,
    /// The share of its output in the position's.
    pub weight: f32,
}

impl Choice {
    /// The row of a choice that another rank computes.
    pub const ELSEWHERE: u32 = u32::MAX;
}

impl Routes {
    pub(crate) fn new(
        rows: usize,
        router: Router,
        held: Range<usize>,
    ) -> Result<Self, BackendError> {
        let Router { experts, chosen, .. } = router;
        assert!((1..=experts).contains(&chosen), "{chosen} of {experts} experts");
        let choices = rows.saturating_mul(chosen);
        Ok(Self {
            choices: reserved(choices)?,
            chosen,
            positions: reserved(choices)?,
            starts: reserved(held.len() + 1)?,
            held,
        })
    }

    /// The choices of a position, the largest weight first.
    ///
    /// # Panics
    /// If the step had no such position.
    #[must_use]
    pub fn of(&self, position: usize) -> &[Choice] {
        &self.choices[position * self.chosen..][..self.chosen]
    }

    /// How many choices each position has.
    #[must_use]
    pub fn chosen(&self) -> usize {
        self.chosen
    }

    /// How many positions there are.
    pub(crate) fn num_positions(&self) -> usize {
        self.choices.len() / self.chosen
    }

    /// The position of each choice of the rank's experts.
    #[must_use]
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Where the choices of each of the rank's experts begin; then where the last one's end.
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Whose choice a row is, counted among the rank's experts.
    pub(crate) fn expert(&self, row: usize) -> usize {
        self.starts.partition_point(|start| *start <= row) - 1
    }

    /// Gives every choice of the rank's experts its row: sorts them by counting.
    fn sort(&mut self) {
        let held = self.held.clone();
        let place = |choice: &Choice| {
            let expert = choice.expert as usize;
            held.contains(&expert).then(|| expert - held.start)
        };
        self.starts.clear();
        self.starts.resize(held.len() + 1, 0);
        for place in self.choices.iter().filter_map(place) {
            self.starts[place + 1] += 1;
        }
        for expert in 0..held.len() {
            self.starts[expert + 1] += self.starts[expert];
        }
        self.positions.clear();
        self.positions.resize(self.starts[held.len()], 0);
        for (position, choices) in self.choices.chunks_exact_mut(self.chosen).enumerate() {
            for choice in choices {
                let Some(place) = place(choice) else {
                    choice.row = Choice::ELSEWHERE;
                    continue;
                };
                let next = &mut self.starts[place];
                choice.row = *next as u32;
                self.positions[*next] = position as u32;
                *next += 1;
            }
        }
        // Every start has moved to the next one's place.
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }
}

/// An empty vector with room for `len`.
fn reserved<T>(len: usize) -> Result<Vec<T>, BackendError> {
    let mut vector = Vec::new();
    let bytes = len.saturating_mul(size_of::<T>());
    vector.try_reserve_exact(len).map_err(|_| BackendError::OutOfMemory { bytes, free: None })?;
    Ok(vector)
}

/// Chooses the experts of every row of scores.
pub(crate) fn route(
    team: &Team,
    isa: Chosen,
    (scores, router): (&Buffer, Router),
    routes: &mut Routes,
) {
    let Router { experts, chosen, normalised } = router;
    assert_eq!(scores.width(), experts, "a score for each expert");
    assert!((1..=experts).contains(&chosen), "{chosen} of {experts} experts");
    let choices = scores.rows() * chosen;
    assert!(choices <= routes.choices.capacity(), "{choices} choices and less room");
    routes.chosen = chosen;
    routes.choices.clear();
    routes.choices.resize(choices, Choice::default());
    let rows = Cuts::Every { step: ROWS_EACH, total: scores.rows() };
    let all = Cuts::Every { step: chosen, total: chosen };
    grid(team, &mut routes.choices, chosen, rows, all, &|choices, _| {
        run(isa, Choose { scores: scores.values(), experts, normalised, choices });
    });
    routes.sort();
}

/// Chooses for some positions.
struct Choose<'a> {
    scores: &'a [f32],
    experts: usize,
    normalised: bool,
    choices: Rect<'a, Choice>,
}

impl Kernel for Choose<'_> {
    type Output = ();

    #[inline(always)]
    fn call<S: Simd>(mut self, s: S) {
        for i in 0..self.choices.rows() {
            let scores = &self.scores[(self.choices.row() + i) * self.experts..][..self.experts];
            let choices = self.choices.line(i);
            choose(scores, choices);
            let largest = choices[0].weight;
            let total = total(s, scores, largest);
            for choice in choices.iter_mut() {
                choice.weight = exp_of(s, choice.weight - largest) / total;
            }
            if self.normalised {
                let sum: f32 = choices.iter().map(|choice| choice.weight).sum();
                choices.iter_mut().for_each(|choice| choice.weight /= sum);
            }
        }
    }
}

/// Finds the largest scores, the largest first and of equal ones the first; weights are scores yet.
///
/// Scores are compared rather than their exponentials, which may round to the same.
#[inline(always)]
fn choose(scores: &[f32], choices: &mut [Choice]) {
    let last = choices.len() - 1;
    for (expert, &score) in scores.iter().enumerate() {
        // The first ones fill the places; what is not a number is neither passed nor passes.
        let goes_in = expert <= last || choices[last].weight < score;
        if !goes_in {
            continue;
        }
        let mut place = expert.min(last);
        while place > 0 && choices[place - 1].weight < score {
            choices[place] = choices[place - 1];
            place -= 1;
        }
        choices[place] = Choice { expert: expert as u32, row: 0, weight: score };
    }
}

/// The sum of all exponentials relative to the largest score's; not a number if a score isn't
/// finite.
#[inline(always)]
fn total<S: Simd>(s: S, scores: &[f32], largest: f32) -> f32 {
    let (whole, rest) = scores.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let whole = whole.iter().map(|scores| (scores, LANES));
    let (mut sum, mut flaw) = (s.zero(), s.zero());
    for (scores, len) in whole.chain([(&last, rest.len())]) {
        let scores = s.load(scores);
        let weights = exp(s, s.sub(scores, s.splat(largest)));
        sum = s.add(sum, s.first(len, weights, s.zero()));
        // Zero times anything is zero, unless it isn't finite.
        flaw = s.fma(scores, s.zero(), flaw);
    }
    s.sum(s.add(sum, flaw))
}
