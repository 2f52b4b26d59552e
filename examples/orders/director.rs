//! Directs the run: starts the processes, watches them, kills one SMS worker at work and hangs
//! another, and sees to the dead letters.

use crate::common::{self, Failure};
use crate::gateway::{Account, Owner};
use crate::order::{Order, is_possible, phone_of};
use crate::place::Place;
use crate::process::Process;
use crate::progress::{Progress, grouped};
use crate::publisher::{Cues, Published, publish};
use crate::workers::{AUDIT, GATEWAY, POINTS, SMS, SMS_WORKERS};
use slipring::{DeadLetter, DeadLetters, GroupInfo, Producer, Ring};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Killed; an index of [`SMS_WORKERS`].
const VICTIM: usize = 1;
/// Hangs for a while.
const SLEEPER: usize = 2;

const TICK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the sleeper sleeps at most, if no worker takes its order over.
const SLEEP_MAX: Duration = Duration::from_secs(3);
/// How long it may take, once awake, to find that it comes too late.
const WAKING_MAX: Duration = Duration::from_secs(1);
/// The director starts a killed process again, up to this many times, also after a kill from
/// outside.
const RESTARTS_MAX: u32 = 100;
/// A redriven order may die again.
const REDRIVES_MAX: usize = 5;

/// The fate of the worker that was stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    pub(crate) position: u64,
    since: Instant,
    pub(crate) slept: Duration,
    lost_before: u64,
    pub(crate) refused: bool,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    BeforeTheDeath,
    BeforeTheSleep,
    Asleep(Sleep),
    Waking(Sleep),
    Over,
}

/// The course of the run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) published: Published,
    /// As it was when all was done.
    pub(crate) sms: GroupInfo,
    pub(crate) points: GroupInfo,
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) redriven: u64,
    pub(crate) letters_left: usize,
    /// The position at which the victim was killed.
    pub(crate) death: Option<u64>,
    pub(crate) sleep: Option<Sleep>,
    pub(crate) restarts: u32,
    pub(crate) books: Vec<Account>,
    pub(crate) elapsed: Duration,
}

/// Records all orders, and has everything done about them, to the end.
pub(crate) fn run(
    total: u64,
    seed: u64,
    ring: &Ring,
    producer: Producer<Order>,
    place: &Place,
) -> Result<Run, Failure> {
    let mut processes = Vec::new();
    for role in [GATEWAY].into_iter().chain(SMS_WORKERS).chain([POINTS, AUDIT]) {
        processes.push(Process::start(role, place)?);
    }
    let names: Vec<String> =
        processes.iter().map(|process| format!("{} {}", process.role, process.pid())).collect();
    eprintln!("orders: processes: orders {}, {}", std::process::id(), names.join(", "));
    let progress = Progress::new("orders", total);
    let mut stage = Stage { total, ring, place, processes, progress, death: None, sleep: None };
    let gateway = stage.await_processes(seed)?;
    let (start, cues) = (Instant::now(), Cues::default());
    let published = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(producer, total, seed, &cues));
        let directed = stage.direct(&cues, || publisher.is_finished());
        cues.stop.store(directed.is_err(), Ordering::Relaxed);
        let published = publisher.join().map_err(|_| "the order process panicked")?;
        directed.and(published)
    });
    let finished = published.and_then(|published| stage.finish(published, gateway, start));
    stage.progress.clear();
    match finished {
        Err(_) if common::interrupted() => Err("interrupted; every process has ended".into()),
        finished => finished,
    }
}

/// The facts that a look at the ring gives.
struct View {
    head: u64,
    sms: GroupInfo,
    points: GroupInfo,
}

impl View {
    fn of(ring: &Ring) -> Result<View, Failure> {
        // Before the groups: what comes in between counts as not done.
        let head = ring.head();
        let mut groups = ring.groups();
        let mut take = |name: &str| {
            let index = groups.iter().position(|group| group.name == name);
            index.map(|index| groups.swap_remove(index)).ok_or("a group is gone")
        };
        Ok(View { head, sms: take(SMS)?, points: take(POINTS)? })
    }

    fn sms_done(&self) -> u64 {
        self.head.saturating_sub(self.sms.num_pending + self.sms.num_ack_pending + self.sms.num_dead_pending)
    }

    fn is_done(&self) -> bool {
        self.sms.ack_floor >= self.head && self.points.ack_floor >= self.head
    }

    fn status(&self, total: u64) -> String {
        let sms = &self.sms;
        let again = sms.failed + sms.expired + sms.worker_died + sms.handed_back;
        let mut status = format!(
            "{} recorded; SMS: {} done, {} waiting, {} in flight, {} again, {} dead",
            grouped(self.head.min(total)),
            grouped(self.sms_done().min(total)),
            grouped(sms.num_pending),
            sms.num_ack_pending,
            grouped(again),
            sms.dead_lettered,
        );
        if self.head > total {
            status.push_str(&format!(", {} redriven", self.head - total));
        }
        status
    }
}

struct Stage<'a> {
    total: u64,
    ring: &'a Ring,
    place: &'a Place,
    processes: Vec<Process>,
    progress: Progress,
    death: Option<u64>,
    sleep: Option<Sleep>,
}

impl Stage<'_> {
    /// Waits for no reader: groups and audit are declared, and no message is lost before they come.
    /// But the times mean more if all begin together.
    fn await_processes(&mut self, seed: u64) -> Result<Owner, Failure> {
        let start = Instant::now();
        let mut gateway = None;
        loop {
            self.see_to_the_living()?;
            if gateway.is_none() {
                gateway = Owner::connect(self.place, seed)?;
            }
            let groups = self.ring.groups();
            let workers = groups.iter().flat_map(|group| &group.workers).filter(|worker| worker.alive);
            let ready = workers.count() == SMS_WORKERS.len() + 1
                && self.ring.consumers().iter().all(|consumer| consumer.alive);
            match gateway.take() {
                Some(gateway) if ready => return Ok(gateway),
                not_yet => gateway = not_yet,
            }
            if start.elapsed() > PATIENCE {
                return Err(
                    format!("not every process came within {PATIENCE:?}; is the machine busy?").into()
                );
            }
            thread::sleep(TICK);
        }
    }

    /// Ticks until every order is recorded and every group has done with it.
    fn direct(&mut self, cues: &Cues, publisher_ended: impl Fn() -> bool) -> Result<(), Failure> {
        let mut act = Act::BeforeTheDeath;
        loop {
            let ended = publisher_ended();
            let view = self.look()?;
            cues.sms_done.store(view.sms_done(), Ordering::Relaxed);
            if ended && view.head < self.total {
                return Ok(()); // the publisher knows why
            }
            act = self.step(act, &view)?;
            let open = matches!(act, Act::Asleep(_) | Act::Waking(_));
            if ended && view.is_done() && !open {
                return Ok(());
            }
            thread::sleep(TICK);
        }
    }

    /// One tick's look at everything.
    fn look(&mut self) -> Result<View, Failure> {
        self.see_to_the_living()?;
        let view = View::of(self.ring)?;
        let marks = [(view.sms_done(), '#'), (view.head, '+')];
        self.progress.show(&marks, |_| view.status(self.total));
        Ok(view)
    }

    /// The plot.
    fn step(&mut self, act: Act, view: &View) -> Result<Act, Failure> {
        let done = view.sms_done();
        Ok(match act {
            Act::BeforeTheDeath if done >= self.total * 35 / 100 => {
                let Some(position) = self.stop_at_work(VICTIM)? else { return Ok(act) };
                let pid = self.signal(VICTIM, libc::SIGKILL)?;
                self.death = Some(position);
                self.progress.tell(&format!(
                    "{} (process {pid}) was killed with SIGKILL while it worked at position {}",
                    SMS_WORKERS[VICTIM],
                    grouped(position)
                ));
                Act::BeforeTheSleep
            }
            Act::BeforeTheSleep if done >= self.total * 55 / 100 => {
                let Some(position) = self.stop_at_work(SLEEPER)? else { return Ok(act) };
                self.progress.tell(&format!(
                    "{} was stopped with SIGSTOP while it worked at position {}",
                    SMS_WORKERS[SLEEPER],
                    grouped(position)
                ));
                let (since, slept, lost_before) = (Instant::now(), Duration::ZERO, view.sms.lost);
                Act::Asleep(Sleep { position, since, slept, lost_before, refused: false })
            }
            // Until another worker has done its work.
            Act::Asleep(sleep)
                if view.sms.ack_floor > sleep.position || sleep.since.elapsed() > SLEEP_MAX =>
            {
                self.signal(SLEEPER, libc::SIGCONT)?;
                Act::Waking(Sleep { slept: sleep.since.elapsed(), ..sleep })
            }
            Act::Waking(sleep)
                if view.sms.lost > sleep.lost_before || sleep.since.elapsed() > sleep.slept + WAKING_MAX =>
            {
                let refused = view.sms.lost > sleep.lost_before;
                let outcome =
                    if refused { "its acknowledgement was refused" } else { "it had nothing to say" };
                self.progress
                    .tell(&format!("{} went on after {:.1?}: {outcome}", SMS_WORKERS[SLEEPER], sleep.slept));
                self.sleep = Some(Sleep { refused, ..sleep });
                Act::Over
            }
            act => act,
        })
    }

    /// Stops a worker, and says at which position it stands, stopped, in the middle of its work. If
    /// it was idle at that moment it goes on.
    fn stop_at_work(&mut self, worker: usize) -> Result<Option<u64>, Failure> {
        let pid = self.signal(worker, libc::SIGSTOP)?;
        let process = libc::id_t::from(pid);
        // SAFETY: a `siginfo_t` of zeroes is a valid one.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` outlives the call. Its end, if it ended, stays to be waited for.
        let waited = unsafe { libc::waitid(libc::P_PID, process, &raw mut info, flags) };
        if waited != 0 || info.si_code != libc::CLD_STOPPED {
            return Ok(None);
        }
        let sms = View::of(self.ring)?.sms;
        let reading =
            sms.workers.iter().find(|worker| worker.pid == u64::from(pid)).and_then(|worker| worker.reading);
        if reading.is_none() {
            self.signal(worker, libc::SIGCONT)?;
        }
        Ok(reading)
    }

    fn signal(&self, worker: usize, signal: libc::c_int) -> Result<u32, Failure> {
        let role = SMS_WORKERS[worker];
        let pid = self.processes.iter().find(|process| process.role == role).map_or(0, Process::pid);
        let to = libc::pid_t::try_from(pid).ok().filter(|&pid| pid > 0).ok_or("no such worker")?;
        // SAFETY: no memory is involved, and a child that was not waited for keeps its number.
        unsafe { libc::kill(to, signal) };
        Ok(pid)
    }

    /// Sees to the dead letters, and ends the stream.
    fn finish(
        &mut self,
        published: (Producer<Order>, Published),
        gateway: Owner,
        start: Instant,
    ) -> Result<Run, Failure> {
        let (mut producer, published) = published;
        let mut letters = Vec::new();
        let mut redriven = 0;
        for _ in 0..REDRIVES_MAX {
            let dead = self.ring.dead_letters()?;
            if dead.is_empty() {
                break;
            }
            self.progress.tell(&format!("{} dead letters: repaired and redriven", dead.len()));
            letters.extend(dead);
            redriven += redrive(self.ring, &mut producer)?;
            while !self.look()?.is_done() {
                thread::sleep(TICK);
            }
        }
        let elapsed = start.elapsed();
        let View { sms, points, .. } = View::of(self.ring)?;
        producer.close()?;
        while !self.processes.iter().all(|process| process.finished || process.role == GATEWAY) {
            self.see_to_the_living()?;
            thread::sleep(TICK);
        }
        Ok(Run {
            published,
            sms,
            points,
            letters,
            redriven,
            letters_left: self.ring.dead_letters()?.len(),
            death: self.death,
            sleep: self.sleep,
            restarts: self.processes.iter().map(|process| process.restarts).sum(),
            books: gateway.close()?,
            elapsed,
        })
    }

    /// A process that was killed is started again: it has its place still. Every other early end is
    /// the end of the run, and so is the gateway's.
    fn see_to_the_living(&mut self) -> Result<(), Failure> {
        if common::interrupted() {
            return Err("interrupted".into());
        }
        for process in &mut self.processes {
            let Some(status) = process.early_end()? else { continue };
            let story = format!("{} (process {}) ended early, {status}", process.role, process.pid());
            let killed = status.signal().is_some() && !common::interrupted();
            if !killed || process.role == GATEWAY || process.restarts == RESTARTS_MAX {
                return Err(story.into());
            }
            process.restart(self.place)?;
            self.progress.tell(&format!("{story}; started again as process {}", process.pid()));
        }
        Ok(())
    }
}

/// Publishes all dead letters again, repaired where they can be, each with a word on which message
/// it was.
fn redrive(ring: &Ring, producer: &mut Producer<Order>) -> Result<u64, Failure> {
    let mut dead = DeadLetters::open(ring)?;
    // Repaired, it is a new order: for all groups.
    dead.set_to_all(true);
    let redriven = dead.redrive_with(producer, u64::MAX, |letter, bytes| {
        // A letter that is no order is redriven as it is; only this program publishes here.
        let Ok(mut order) = Order::parse(bytes) else { return };
        if !is_possible(order.phone) {
            order.phone = phone_of(order.customer);
        }
        if order.origin == 0 {
            order.origin = 1 + letter.id.position;
        }
        bytes.copy_from_slice(order.as_bytes());
    })?;
    Ok(redriven)
}
