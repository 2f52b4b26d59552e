//! A process in a role, and the next one in its seat when it was killed.

use crate::board::Plan;
use crate::cast::{Cast, Role, Wrong};
use crate::clock::{self, SHIFTS};
use crate::options::Plant;
use kit::Dice;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// The common part of all players.
#[derive(Clone, Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) plan: Plan,
    pub(crate) seed: u64,
    pub(crate) plant: Option<Plant>,
    /// Workers may have clocks of their own.
    pub(crate) shifts: bool,
}

#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) role: Role,
    pub(crate) seat: u64,
    pub(crate) incarnation: u64,
    pub(crate) kills: u64,
    pub(crate) stops: u64,
    /// Since when it has been expected to arrive; moved on while it is stopped.
    pub(crate) started: Instant,
    /// Stopped until then.
    pub(crate) stopped: Option<Instant>,
    /// Away until then.
    pub(crate) away: Option<Instant>,
    child: Option<Child>,
}

impl Player {
    pub(crate) fn new(role: Role, seat: u64) -> Player {
        let (started, stopped, away) = (Instant::now(), None, None);
        Player { role, seat, incarnation: 0, kills: 0, stops: 0, started, stopped, away, child: None }
    }

    pub(crate) fn start(&mut self, stage: &Stage<'_>) -> io::Result<()> {
        self.incarnation += 1;
        let numbers = [self.seat, self.incarnation, stage.seed];
        let (variable, given) = Cast::to_env(self.role, numbers, stage.dir, stage.plan, stage.plant);
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own: Ctrl-C is for the director.
        command.env(variable, given).stdin(Stdio::null()).process_group(0);
        let mut dice = Dice::new(stage.seed ^ self.seat << 40 ^ self.incarnation);
        if stage.shifts && self.role.team().is_some() && dice.hits(2) {
            clock::shift(&mut command, dice.pick(&SHIFTS));
        }
        self.child = Some(command.spawn()?);
        self.started = Instant::now();
        self.away = None;
        Ok(())
    }

    pub(crate) fn is_playing(&self) -> bool {
        self.child.is_some() && self.stopped.is_none()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.child.is_some()
    }

    fn signal(&self, signal: libc::c_int) {
        if let Some(pid) = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()) {
            // SAFETY: no memory is passed. The process was not waited for, so that the number is
            // its own.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// SIGKILL, and the proof that it is dead. An error if it had ended before.
    pub(crate) fn kill(&mut self) -> Result<(), Wrong> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        self.stopped = None;
        self.kills += 1;
        let status = child.kill().and_then(|()| child.wait());
        match status {
            Ok(status) if status.signal() == Some(libc::SIGKILL) => Ok(()),
            Ok(status) => Err(self.judge(status)),
            Err(_) => Err(Wrong::Failed),
        }
    }

    pub(crate) fn stop(&mut self, until: Instant) {
        self.signal(libc::SIGSTOP);
        self.stopped = Some(until);
        self.stops += 1;
    }

    pub(crate) fn go_on(&mut self) {
        if let Some(_until) = self.stopped.take() {
            self.signal(libc::SIGCONT);
            self.started = Instant::now();
        }
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<Result<(), Wrong>> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(if status.success() { Ok(()) } else { Err(self.judge(status)) })
    }

    fn judge(&self, status: ExitStatus) -> Wrong {
        let wrong = Wrong::of_code(status.code());
        if wrong == Wrong::Failed {
            eprintln!("\n{} in seat {} ended: {status}", self.role.name(), self.seat);
        }
        wrong
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
