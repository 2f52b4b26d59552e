//! Scripts that use the real binary.

#![allow(dead_code, reason = "no test needs all of it")]

use kit::TempDir;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory of its own for each test, gone afterwards.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(TempDir::new())
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    pub(crate) fn ring(&self) -> String {
        self.0.file("ring").to_str().unwrap().to_owned()
    }

    /// Runs a shell pipeline in which `slipring` is the binary and `$R` the ring.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let bin = PathBuf::from(env!("CARGO_BIN_EXE_slipring"));
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {script}")])
            .env("PATH", format!("{}:{path}", bin.parent().unwrap().display()))
            .env("R", self.ring())
            .current_dir(self.0.as_ref())
            .output()
            .unwrap()
    }

    /// The standard output of a pipeline that succeeds.
    pub(crate) fn good(&self, script: &str) -> String {
        let output = self.shell(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code and the error of one that does not.
    pub(crate) fn bad(&self, script: &str) -> (i32, String) {
        let output = self.shell(script);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}
