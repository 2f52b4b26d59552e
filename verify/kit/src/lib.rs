//! The tools that tests, simulation, crash tests, soak test and fuzzing share.
//!
//! Nothing here knows the library: a mistake in the library must not be able to repeat itself here.

mod child;
mod dice;
mod place;
mod wait;

pub use child::{Child, Player, command, play, tell};
pub use dice::{Dice, mix};
pub use place::TempDir;
pub use wait::{LONG, panic_quietly, until};
