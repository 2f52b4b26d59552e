//! How many words a worker looks at before it goes on with something else.

/// Words that a sweep looks at: some 10 µs of work, or 50 if each is in another cache line.
pub const SWEEP_STEPS: u64 = 2048;
/// Words that a search looks at, from the hint on, for what was handed back.
const LOOK_STEPS: u64 = 256;

/// Words that one search and one sweep look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) look: u64,
    pub(super) sweep: u64,
}

impl Steps {
    pub(super) const USUAL: Steps = Steps { look: LOOK_STEPS, sweep: SWEEP_STEPS };
}
