//! The work of the fuzz targets with their inputs. `docs/any-file.md` says how to run them, and
//! lists the results.

pub mod attach;
pub mod input;
pub mod memory;
pub mod segment;
pub mod words;
