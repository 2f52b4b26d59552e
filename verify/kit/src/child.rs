//! Other processes: the test program started again, to play one role.
//!
//! A role is named after the file that plays it, as in `stopped/worker`. A test program that starts
//! children has one test of its own for them:
//!
//! ```no_run
//! # mod stopped { pub fn play(_role: &str, _given: &[String]) {} }
//! #[test]
//! fn child_role() {
//!     kit::play(&[("stopped", stopped::play)]);
//! }
//! ```
//!
//! The child speaks to its parent through its standard output. Its lines are marked with `@`, since
//! the test harness writes there too.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A child process in a role. Killed when dropped.
#[derive(Debug)]
pub struct Child {
    /// The process itself.
    pub process: std::process::Child,
    output: BufReader<std::process::ChildStdout>,
}

/// A function that plays the roles of one file, each with the strings it was given.
pub type Player = fn(role: &str, given: &[String]);

/// Plays the role this process was started for, with the function that stands beside the role's
/// file, and tells the parent `done`. Does nothing in a process that was started for no role.
///
/// # Panics
///
/// Panics if no function belongs to the role's file, and if the role fails.
pub fn play(files: &[(&str, Player)]) {
    let Ok(role) = std::env::var("SLIPRING_TEST_ROLE") else { return };
    let given: Vec<String> =
        std::env::var("SLIPRING_TEST_GIVEN").unwrap().split('\n').map(str::to_owned).collect();
    // SAFETY: no memory is passed. The child dies with the thread that started it, however that
    // ends.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let (file, role) = role.split_once('/').unwrap();
    let (_, play) = files.iter().find(|(name, _)| *name == file).expect(file);
    play(role, &given);
    tell("done");
}

/// Says something to the parent.
///
/// # Panics
///
/// Panics if the parent does not listen any more.
pub fn tell(what: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{what}").unwrap();
    out.flush().unwrap();
}

/// The command that starts a child in a role, with one string or more.
///
/// # Panics
///
/// Panics if this program's own path is unknown.
pub fn command(role: &str, given: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_role", "--nocapture", "--test-threads=1"]);
    command.env("SLIPRING_TEST_ROLE", role).env("SLIPRING_TEST_GIVEN", given.join("\n"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

impl Child {
    /// Starts a child in a role.
    ///
    /// # Panics
    ///
    /// Panics if no process can be started.
    pub fn start(role: &str, given: &[&str]) -> Child {
        Child::spawn(&mut command(role, given)).unwrap()
    }

    /// Starts a child by a command that [`command`] made and the test has changed.
    ///
    /// # Errors
    ///
    /// The errors of starting a process.
    ///
    /// # Panics
    ///
    /// Panics if the command does not pipe the child's standard output.
    pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
        let mut process = command.spawn()?;
        let output = BufReader::new(process.stdout.take().unwrap());
        Ok(Child { process, output })
    }

    /// Waits for the child's next line.
    ///
    /// # Panics
    ///
    /// Panics if the child ends instead.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the child died silently");
            if let Some((_, said)) = line.trim_end().split_once('@') {
                return said.to_owned();
            }
        }
    }

    /// The child's process number.
    pub fn pid(&self) -> u64 {
        self.process.id().into()
    }

    /// Kills the child with SIGKILL, and waits until it is dead.
    ///
    /// # Panics
    ///
    /// Panics if the child cannot be killed.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Hears the child out: it says "done" and ends, without a panic.
    ///
    /// # Panics
    ///
    /// Panics if the child says anything else, or fails.
    pub fn finish(&mut self) {
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
