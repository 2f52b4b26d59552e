//! Directs the run: kills, stops and starts processes, and checks that every message meets its
//! fate.

use crate::board::{Board, Entry, Global, Plan, Team};
use crate::cast::{PATIENCE, Role, Wrong, board_path, ring_path};
use crate::fates::Fates;
use crate::files::Files;
use crate::message::{BLOCKS, Stream};
use crate::options::{Options, Plant};
use crate::player::{Player, Stage};
use crate::pulse::Pulse;
use crate::roles::{FIRST_SETTINGS, can_be_another_user, settings};
use crate::{clock, files};
use kit::Dice;
use slipring::{Ring, RingOptions};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(5);
/// A longer tick: this process was stopped itself.
const STOPPED: Duration = Duration::from_secs(1);
const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Messages to either side of 2^32.
const BROADCAST_FIRST: u64 = (1 << 32) - 20_000_000;
const GROUPS_FIRST: u64 = (1 << 32) - 500_000;

const SEATS: [Role; 21] = [
    Role::Publisher,
    Role::Audit,
    Role::Durable,
    Role::Plain,
    Role::Plain,
    Role::Evictable,
    Role::Observer,
    Role::GroupPublisher,
    Role::Worker,
    Role::Worker,
    Role::Worker,
    Role::FrailWorker,
    Role::FrailWorker,
    Role::Redriver,
    Role::Changer,
    Role::Stranger,
    Role::FleetingPublisher,
    Role::FleetingReader,
    Role::FleetingObserver,
    Role::FleetingWorker,
    Role::FleetingWorker,
];

/// The first of many.
pub(crate) fn few(positions: &[u64]) -> &[u64] {
    &positions[..positions.len().min(8)]
}

/// Failures, by kind.
pub(crate) type Findings = BTreeMap<&'static str, u64>;

#[derive(Debug)]
pub(crate) struct Director<'a> {
    pub(crate) options: &'a Options,
    pub(crate) board: Board,
    pub(crate) broadcast: Ring,
    pub(crate) groups: Ring,
    pub(crate) players: Vec<Player>,
    pub(crate) fates: [Fates; 2],
    pub(crate) findings: Findings,
    pub(crate) blows: u64,
    pub(crate) stage: Stage<'a>,
    pub(crate) files: Files,
    dice: Dice,
    pulse: Pulse,
}

impl<'a> Director<'a> {
    pub(crate) fn new(
        options: &'a Options,
        seed: u64,
        dir: &'a Path,
    ) -> Result<Director<'a>, Box<dyn Error>> {
        let seconds = options.duration().as_secs() + 1;
        let plan = Plan {
            publishers: 1024 + seconds * 1000 / options.blow_ms,
            messages: seconds * options.group_rate,
            files: files::at_most(seconds),
        };
        let mut dice = Dice::new(seed);
        let block = BLOCKS[dice.size(BLOCKS.len()) - 1];
        // Where there is another user, the others may read.
        let (others, shifts) = (can_be_another_user(), clock::can_shift());
        let mode = if others { 0o644 } else { 0o600 };
        let broadcast = RingOptions::new(block, options.capacity)
            .mode(mode)
            .first_position(BROADCAST_FIRST)
            .durable("audit")
            .durable("durable")
            .create(ring_path(dir, Stream::Broadcast))?;
        let groups = RingOptions::new(block, (options.capacity / 16).max(64))
            .mode(mode)
            .first_position(GROUPS_FIRST)
            .group(Team::Steady.name(), settings(Team::Steady, FIRST_SETTINGS))
            .group(Team::Frail.name(), settings(Team::Frail, FIRST_SETTINGS))
            .create(ring_path(dir, Stream::Groups))?;
        let seats = |wanted: Team| {
            let seats = (0..).zip(SEATS).filter(move |(_, role)| role.team() == Some(wanted));
            seats.map(|(seat, _)| seat).collect()
        };
        if !others {
            eprintln!("soak: without another user, since this one is not root");
        }
        if !shifts {
            eprintln!(
                "soak: without shifted clocks, since this system lets this user make no time namespace"
            );
        }
        let board = Board::open(&board_path(dir), plan)?;
        let ring = RingOptions::new(block, files::CAPACITY).mode(mode);
        let files = Files::new(ring_path(dir, Stream::Fleeting), ring, &board, options.plant)?;
        if others && options.plant == Some(Plant::Expose) {
            let locks = ring_path(dir, Stream::Groups).with_extension("locks");
            std::fs::set_permissions(locks, Permissions::from_mode(0o666))?;
        }
        let seats_taken = (0..).zip(SEATS).filter(|(_, role)| others || *role != Role::Stranger);
        Ok(Director {
            options,
            board,
            broadcast,
            groups,
            players: seats_taken.map(|(seat, role)| Player::new(role, seat)).collect(),
            fates: [Team::Steady, Team::Frail].map(|team| Fates::new(team, seats(team), GROUPS_FIRST)),
            findings: Findings::new(),
            blows: 0,
            stage: Stage { dir, plan, seed, plant: options.plant, shifts },
            files,
            dice,
            pulse: Pulse::default(),
        })
    }

    pub(crate) fn found(&mut self, wrong: Wrong, what: &str) {
        eprintln!("\n{wrong:?}: {what}");
        self.note(wrong);
    }

    fn note(&mut self, wrong: Wrong) {
        let name = match wrong {
            Wrong::Lost => "lost",
            Wrong::Corrupt => "corrupt",
            Wrong::Doubled => "doubled",
            Wrong::Stuck => "stuck",
            Wrong::Failed => "failed",
        };
        *self.findings.entry(name).or_default() += 1;
    }

    /// Plays for the given time, or until something is found, or until `interrupted`. Reports now
    /// and then.
    pub(crate) fn play(
        &mut self,
        interrupted: impl Fn() -> bool,
        mut report: impl FnMut(&Director<'_>, Duration),
    ) -> Result<Duration, Box<dyn Error>> {
        for player in &mut self.players {
            player.start(&self.stage)?;
        }
        let (mut played, mut last) = (Duration::ZERO, Instant::now());
        let (mut next_blow, mut next_check) = (Duration::ZERO, CHECK_EVERY);
        while played < self.options.duration() && self.findings.is_empty() && !interrupted() {
            let now = Instant::now();
            let step = now - last;
            last = now;
            if step > STOPPED {
                self.pulse.skip(step);
                self.players.iter_mut().for_each(|player| player.started += step);
            } else {
                played += step;
            }
            let allowed = played.as_millis() * u128::from(self.options.group_rate) / 1000;
            let allowed = u64::try_from(allowed).unwrap_or(u64::MAX).min(self.stage.plan.messages);
            self.board.global(Global::Quota).store(allowed, SeqCst);
            self.look_after_players(now)?;
            self.look_at_streams(now);
            self.look_at_files(played)?;
            if played >= next_blow {
                self.strike(now);
                next_blow = played + Duration::from_millis(self.dice.roll(2 * self.options.blow_ms + 1));
            }
            if played >= next_check {
                self.check_rings();
                next_check = played + CHECK_EVERY;
            }
            report(self, played);
            std::thread::sleep(TICK);
        }
        self.wind_down()?;
        Ok(played)
    }

    fn look_after_players(&mut self, now: Instant) -> Result<(), Box<dyn Error>> {
        let mut wrongs = Vec::new();
        for player in &mut self.players {
            if player.stopped.is_some_and(|until| until <= now) {
                player.go_on();
            }
            if player.away.is_some_and(|until| until <= now) {
                player.start(&self.stage)?;
            }
            if let Some(ended) = player.ended() {
                wrongs.push((ended.err().unwrap_or(Wrong::Failed), format!("{} ended", player.role.name())));
            }
            let arrived = self.board.seat(player.seat, Entry::Arrived).load(SeqCst);
            if player.is_playing() && arrived != player.incarnation && now - player.started > PATIENCE {
                wrongs.push((Wrong::Stuck, format!("{} does not get to work", player.role.name())));
            }
        }
        wrongs.into_iter().for_each(|(wrong, what)| self.found(wrong, &what));
        Ok(())
    }

    /// A blow of fate.
    fn strike(&mut self, now: Instant) {
        let chosen = self.dice.roll(SEATS.len() as u64);
        let (blow, away) = (self.dice.roll(8), self.dice.roll(4));
        // Mostly shorter than a lease, at times longer than several.
        let pause = if self.dice.hits(8) { self.dice.roll(500) } else { self.dice.roll(50) };
        let absence = if away == 0 { self.dice.roll(200) } else { 0 };
        let Some(player) = self.players.iter_mut().find(|player| player.seat == chosen) else { return };
        if !player.is_there() {
            return;
        }
        self.blows += 1;
        // Another user's locks last.
        if blow < 5 && !matches!(player.role, Role::Audit | Role::Stranger) {
            let killed = player.kill();
            player.away = Some(now + Duration::from_millis(absence));
            self.fates.iter_mut().for_each(|fates| fates.killed(&self.board, chosen));
            if let Err(wrong) = killed {
                self.note(wrong);
            }
        } else if player.stopped.is_none() {
            player.stop(now + Duration::from_millis(pause));
        }
    }

    fn look_at_streams(&mut self, now: Instant) {
        let audited = self.board.seat(1, Entry::Messages).load(SeqCst);
        let mut numbers = vec![
            ("the broadcast stream".to_owned(), self.broadcast.head()),
            ("the stream to the groups".to_owned(), self.groups.head()),
            ("the audit".to_owned(), audited),
        ];
        for n in 0..self.fates.len() {
            let sound = self.fates[n].follow(&self.groups, &self.board);
            let fates = &self.fates[n];
            let name = fates.team.name();
            numbers.push((format!("the floor of group {name}"), fates.floor));
            let missing = fates.missing().to_vec();
            // Each worker that lives may have one left to count, and the keeper of dead letters
            // what is in their ring, and in those that it moved away.
            let letters = if fates.team == Team::Frail { 4096 } else { 0 };
            if missing.len() > fates.seats().len() + letters {
                let what = format!(
                    "{} below the floor of {name}, acknowledged by nobody: {:?}",
                    missing.len(),
                    few(&missing)
                );
                self.found(Wrong::Lost, &what);
            }
            if !sound {
                self.found(Wrong::Corrupt, &format!("the floor of {name} went back, or ahead of the head"));
            }
        }
        for (what, value) in numbers {
            if self.pulse.is_stuck(&what, value, now) {
                self.found(Wrong::Stuck, &format!("{what} has not moved from {value}"));
            }
        }
    }

    /// Removes and makes files, and looks whether their users follow.
    fn look_at_files(&mut self, played: Duration) -> Result<(), Box<dyn Error>> {
        self.files.go_on(played, &self.board, &mut self.dice)?;
        let expected = self.files.everyone_at_least(played);
        let at = |player: &Player| self.board.seat(player.seat, Entry::AtFile).load(SeqCst);
        let behind = self.players.iter().find(|player| player.role.is_fleeting() && at(player) < expected);
        if let Some(player) = behind {
            let what = format!("{} is at file {}, and {expected} came", player.role.name(), at(player));
            self.found(Wrong::Stuck, &what);
        }
        Ok(())
    }

    pub(crate) fn check_rings(&mut self) {
        for (ring, name) in [(self.broadcast.check(), "broadcast"), (self.groups.check(), "groups")] {
            // State that a killed player leaves for the next one to clear is no damage.
            for violation in ring.into_iter().filter(|violation| !violation.repairable) {
                self.found(Wrong::Corrupt, &format!("{name}: {violation}"));
            }
        }
    }
}
