//! A step's layout as operations read it, and the end of a step.

use engine_backend::{BackendError, Drawn, Event, StepLayout};

/// A layout, staged.
pub struct Step {
    pub(crate) layout: StepLayout,
    /// Different for each staging.
    pub(crate) serial: u64,
    rows_max: usize,
    tokens_max: usize,
    blocks_max: usize,
}

impl Step {
    pub(crate) fn new(rows_max: usize, tokens_max: usize, blocks_max: usize) -> Self {
        let layout = StepLayout {
            tokens: Vec::with_capacity(tokens_max),
            positions: Vec::with_capacity(tokens_max),
            slots: Vec::with_capacity(tokens_max),
            spans: Vec::with_capacity(rows_max),
            blocks: Vec::with_capacity(blocks_max),
            inherits: Vec::with_capacity(rows_max),
            samples: Vec::with_capacity(rows_max),
            tallies: Vec::new(),
            texts: Vec::new(),
            biases: Vec::new(),
        };
        Self { layout, serial: 0, rows_max, tokens_max, blocks_max }
    }

    pub(crate) fn stage(&mut self, layout: &StepLayout, serial: u64) {
        let tokens = layout.tokens.len();
        assert!(tokens <= self.tokens_max, "{tokens} tokens in a step of {}", self.tokens_max);
        assert!(layout.spans.len() <= self.rows_max, "more rows than {}", self.rows_max);
        assert!(layout.blocks.len() <= self.blocks_max, "more blocks than {}", self.blocks_max);
        assert_eq!(layout.positions.len(), tokens, "a position for each token");
        assert_eq!(layout.slots.len(), tokens, "a slot for each token");
        // Vector by vector, since that keeps their memory.
        let staged = &mut self.layout;
        staged.tokens.clone_from(&layout.tokens);
        staged.positions.clone_from(&layout.positions);
        staged.slots.clone_from(&layout.slots);
        staged.spans.clone_from(&layout.spans);
        staged.blocks.clone_from(&layout.blocks);
        staged.inherits.clone_from(&layout.inherits);
        staged.samples.clone_from(&layout.samples);
        self.serial = serial;
    }
}

/// The end of a step: its operations have run when they were called.
pub struct Done(pub(crate) Result<Drawn, BackendError>);

impl Event for Done {
    fn wait(self) -> Result<Drawn, BackendError> {
        self.0
    }
}
