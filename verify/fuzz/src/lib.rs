//! What the fuzz targets do with their inputs. `docs/any-file.md` says how to run them and what
//! came of it.

pub mod attach;
pub mod input;
pub mod memory;
pub mod words;
