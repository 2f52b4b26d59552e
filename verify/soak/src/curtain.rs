//! The end of a run: every process finishes, and the director compares all counts.

use crate::board::{Entry, Fate, Global, Team, Trace};
use crate::cast::{PATIENCE, Role, Wrong};
use crate::director::{Director, few};
use std::error::Error;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

impl Director<'_> {
    /// No process is killed any more. The publishers close, the readers drain, the workers finish.
    pub(crate) fn wind_down(&mut self) -> Result<(), Box<dyn Error>> {
        if !self.findings.is_empty() {
            return Ok(());
        }
        for player in &mut self.players {
            player.go_on();
            if !player.is_there() {
                player.start(&self.stage)?;
            }
        }
        // The users of a file that has gone find the next one.
        self.files.settle(&self.board)?;
        self.board.global(Global::Stop).store(1, SeqCst);
        self.await_players(|role| !role.plays_to_the_end());
        self.board.global(Global::WorkDone).store(1, SeqCst);
        self.await_players(|_| true);
        if self.findings.is_empty() {
            self.close_the_books();
        }
        Ok(())
    }

    fn await_players(&mut self, who: impl Fn(Role) -> bool) {
        let start = Instant::now();
        while self.players.iter().any(|player| who(player.role) && player.is_there()) {
            let ends: Vec<Wrong> =
                self.players.iter_mut().filter_map(|player| player.ended()?.err()).collect();
            ends.into_iter().for_each(|wrong| self.found(wrong, "at the end"));
            if start.elapsed() > 2 * PATIENCE {
                let left = self.players.iter().filter(|player| player.is_there());
                let left: Vec<&str> = left.map(|player| player.role.name()).collect();
                let left = left.join(", ");
                let what = format!(
                    "at the end: {left}; {:?}, {:?}",
                    self.broadcast.consumers(),
                    self.groups.groups()
                );
                self.found(Wrong::Stuck, &what);
                return;
            }
            if !self.findings.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Every reader that saw the end stood at the head; every message of the groups has one fate.
    fn close_the_books(&mut self) {
        let head = self.broadcast.head();
        for n in 0..self.players.len() {
            if !self.players[n].role.reads_the_broadcast() {
                continue;
            }
            let (seat, name) = (self.players[n].seat, self.players[n].role.name());
            let drained = self.board.seat(seat, Entry::Drained).load(SeqCst);
            if drained != head {
                self.found(Wrong::Lost, &format!("the {name} ended at {drained}, the stream at {head}"));
            }
        }
        let read = self.board.seat(1, Entry::Messages).load(SeqCst);
        let published = head - self.broadcast.first_position();
        if read != published {
            self.found(Wrong::Lost, &format!("{published} were published, and the audit read {read}"));
        }
        let head = self.groups.head();
        for n in 0..self.fates.len() {
            let sound = self.fates[n].follow(&self.groups, &self.board);
            let (floor, name) = (self.fates[n].floor, self.fates[n].team.name());
            let missing = self.fates[n].missing().to_vec();
            if !sound || floor != head {
                self.found(
                    Wrong::Stuck,
                    &format!("the floor of {name} is {floor}, the stream ended at {head}"),
                );
            }
            if !missing.is_empty() {
                self.found(
                    Wrong::Lost,
                    &format!(
                        "{} settled in {name}, acknowledged by nobody: {:?}",
                        missing.len(),
                        few(&missing)
                    ),
                );
            }
            self.no_message_has_two_fates(n);
        }
        self.check_rings();
    }

    fn no_message_has_two_fates(&mut self, n: usize) {
        let (team, first) = (self.fates[n].team, self.groups.first_position());
        for nth in 0..self.groups.head() - first {
            if team == Team::Frail && self.board.has(Trace::Owed, nth) {
                self.found(
                    Wrong::Lost,
                    &format!("position {} was redriven, and no worker finished it", first + nth),
                );
            }
            let met = |fate| self.board.met(team, fate, nth);
            if met(Fate::Acknowledged) && met(Fate::Buried) {
                self.found(
                    Wrong::Doubled,
                    &format!("position {} was acknowledged and a dead letter", first + nth),
                );
            }
        }
    }
}
