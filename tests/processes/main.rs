//! Processes that die, stop, fork, misbehave, or lack something.

mod clocks;
mod group_kills;
mod killed;
mod neighbours;
mod no_trace;
mod scarcity;
mod stopped;

#[test]
fn child_role() {
    kit::play(&[
        ("clocks", clocks::play),
        ("group_kills", group_kills::play),
        ("killed", killed::play),
        ("neighbours", neighbours::play),
        ("scarcity", scarcity::play),
        ("stopped", stopped::play),
    ]);
}
