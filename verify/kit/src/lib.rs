//! The tools that tests, simulation, crash tests, soak test and fuzzing share.
//!
//! Nothing here knows the library: a mistake in the library must not be able to repeat itself here.

mod child;
mod place;

pub use child::{Child, Player, command, play, tell};
pub use place::TempDir;
