//! Scripts that use the real binary.

#![allow(dead_code, reason = "no test needs all of it")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for each test, gone afterwards.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from("/dev/shm").join(format!("slipring-cli-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Place(path)
    }

    pub(crate) fn ring(&self) -> String {
        self.0.join("ring").to_str().unwrap().to_owned()
    }

    /// Runs a shell pipeline in which `slipring` is the binary and `$R` the ring.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let bin = PathBuf::from(env!("CARGO_BIN_EXE_slipring"));
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {script}")])
            .env("PATH", format!("{}:{path}", bin.parent().unwrap().display()))
            .env("R", self.ring())
            .current_dir(&self.0)
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

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
