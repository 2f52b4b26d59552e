//! The Rust snippets of the documents, compiled and run as tests of this library, which holds nothing else.
