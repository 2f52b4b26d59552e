//! Other processes: the test program started again, to play one role.
//!
//! A file that uses this has a test named `child_role`, which does nothing unless [`cast`] names a role.
//! What a child has to say to its parent goes to its standard output, marked with `@`, since the test
//! harness speaks there too.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A child process in a role. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
}

/// The role this process was started for, and what it was given.
pub(crate) fn cast() -> Option<(String, Vec<String>)> {
    let role = std::env::var("SLIPRING_TEST_ROLE").ok()?;
    let given = std::env::var("SLIPRING_TEST_GIVEN").unwrap();
    // SAFETY: no memory is passed. The child dies with the thread that started it, however that ends.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    Some((role, given.split('\n').map(str::to_owned).collect()))
}

/// Says something to the parent.
pub(crate) fn tell(what: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{what}").unwrap();
    out.flush().unwrap();
}

/// What starts a child in a role.
pub(crate) fn command(role: &str, given: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_role", "--nocapture", "--test-threads=1"]);
    command.env("SLIPRING_TEST_ROLE", role).env("SLIPRING_TEST_GIVEN", given.join("\n"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

impl Child {
    pub(crate) fn start(role: &str, given: &[&str]) -> Child {
        Child::spawn(&mut command(role, given)).unwrap()
    }

    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
        let mut process = command.spawn()?;
        let output = BufReader::new(process.stdout.take().unwrap());
        Ok(Child { process, output })
    }

    /// What the child says next; waits for it.
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the child died silently");
            if let Some((_, said)) = line.trim_end().split_once('@') {
                return said.to_owned();
            }
        }
    }

    /// Hears the child out: it says "done" and ends, without a panic.
    pub(crate) fn finish(&mut self) {
        assert_eq!(self.hear(), "done");
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the child failed: {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
