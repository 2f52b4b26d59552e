//! The processes of a run: this program once more, in another role.

use crate::common::Failure;
use crate::place::Place;
use std::env;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};

/// The hidden argument that makes a process play a role. The role follows, and the directory of the
/// run, and perhaps [`KEEP`].
pub(crate) const ROLE: &str = "--role";
const KEEP: &str = "keep";

/// The arguments after [`ROLE`]: the role, and the place.
pub(crate) fn role_and_place(
    mut arguments: impl Iterator<Item = std::ffi::OsString>,
) -> Result<(String, Place), Failure> {
    let role = arguments.next().and_then(|role| role.into_string().ok()).unwrap_or_default();
    let dir = arguments.next().map(std::path::PathBuf::from).ok_or("--role is for internal use")?;
    Ok((role, Place { dir, keep: arguments.next().is_some_and(|argument| argument == KEEP) }))
}

/// A process in a role. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) role: &'static str,
    child: Child,
    pub(crate) finished: bool,
    pub(crate) restarts: u32,
}

impl Process {
    /// Starts this program once more, in another role.
    pub(crate) fn start(role: &'static str, place: &Place) -> Result<Process, Failure> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(ROLE).arg(role).arg(&place.dir).args(place.keep.then_some(KEEP));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("cannot start the process of {role}: {error}"))?;
        Ok(Process { role, child, finished: false, restarts: 0 })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it ended before it had finished.
    pub(crate) fn early_end(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.finished {
            return Ok(None);
        }
        let ended = self.child.try_wait()?;
        self.finished = ended.is_some_and(|status| status.success());
        Ok(ended.filter(|status| !status.success()))
    }

    /// SIGKILL: it has no chance to say goodbye.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    pub(crate) fn restart(&mut self, place: &Place) -> Result<(), Failure> {
        let restarts = self.restarts + 1;
        *self = Process::start(self.role, place)?;
        self.restarts = restarts;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended.
        drop(self.kill());
    }
}
