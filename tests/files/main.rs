//! Files: their bytes, and the harm that damaged or foreign files may do.

mod any_file;
mod attach_errors;
mod golden;
mod pages;
mod places;
mod restored;
mod salvage;
mod stale;

#[test]
fn child_role() {
    kit::play(&[("any_file", any_file::play), ("attach_errors", attach_errors::play)]);
}
