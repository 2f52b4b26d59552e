//! The tools that tests, simulation, crash tests, soak test and fuzzing share.
//!
//! Nothing here knows the library: a mistake in the library must not be able to repeat itself here.

mod bystander;
mod child;
mod dice;
pub mod format;
mod message;
mod place;
pub mod raw;
mod wait;

pub use bystander::{Bystander, NOBODY};
pub use child::{Child, Player, command, play, tell};
pub use dice::{Dice, mix};
pub use message::message;
pub use place::TempDir;
pub use wait::{LONG, panic_quietly, until};
