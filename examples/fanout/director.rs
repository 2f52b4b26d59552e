//! Directs the run: starts the readers, watches them, kills one in the middle, and brings it back.

use crate::common::{self, Failure};
use crate::place::Place;
use crate::process::Process;
use crate::progress::{Progress, grouped};
use crate::publisher::{Cues, Published, publish};
use crate::readers::{CONSUMERS, OBSERVER, record_path};
use crate::script::Script;
use slipring::{ConsumerInfo, Producer, Ring};
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The process to kill.
pub(crate) const VICTIM: &str = CONSUMERS[1];

const TICK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the victim stays dead at most, if the ring does not fill up before.
const ABSENCE_MAX: Duration = Duration::from_secs(1);
/// The director starts a killed consumer again, up to this many times, also after a kill from
/// outside.
const RESTARTS_MAX: u32 = 100;

/// The planned death.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) pid: u32,
    /// The first position that it had not released.
    pub(crate) tail: u64,
    at: Instant,
    /// The messages that the publisher could still publish, and whether it then stood still because
    /// the ring was full.
    pub(crate) published_meanwhile: u64,
    pub(crate) ring_filled: bool,
    pub(crate) successor: u32,
    pub(crate) outage: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    BeforeTheDeath,
    Dead(Death),
    Returning(Death),
    AfterIt(Death),
}

/// The outcome.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) published: Published,
    pub(crate) readers: Vec<Process>,
    pub(crate) death: Death,
}

/// Publishes the script to all readers, to the end.
pub(crate) fn run(
    script: &Script<'_>,
    ring: &Ring,
    producer: Producer,
    place: &Place,
) -> Result<Run, Failure> {
    let mut readers = Vec::new();
    for role in CONSUMERS.into_iter().chain([OBSERVER]) {
        readers.push(Process::start(role, place)?);
    }
    let names: Vec<String> =
        readers.iter().map(|reader| format!("{} {}", reader.role, reader.pid())).collect();
    eprintln!("fanout: processes: publisher {}, {}", std::process::id(), names.join(", "));
    let mut stage = Stage { script, ring, place, readers, progress: Progress::new("fanout", script.len()) };
    stage.await_readers()?;
    let cues = Cues::default();
    thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(producer, script, &cues));
        let directed = stage.direct(&cues, || publisher.is_finished());
        cues.stop.store(directed.is_err(), Ordering::Relaxed);
        let published = publisher.join().map_err(|_| "the publisher panicked")?;
        stage.progress.clear();
        if common::interrupted() {
            return Err("interrupted; every process has ended".into());
        }
        match (published, directed) {
            // Stopped because of the director's error.
            (Err(_), Err(error)) if cues.stop.load(Ordering::Relaxed) && !error.is::<PublisherGone>() => {
                Err(error)
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(published), Ok(death)) => Ok(Run { published, readers: stage.readers, death }),
        }
    })
}

/// The publisher ended before its script; it knows why.
#[derive(Debug, Clone, Copy)]
struct PublisherGone;

impl std::fmt::Display for PublisherGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the publisher ended early")
    }
}

impl std::error::Error for PublisherGone {}

struct Stage<'a> {
    script: &'a Script<'a>,
    ring: &'a Ring,
    place: &'a Place,
    readers: Vec<Process>,
    progress: Progress,
}

impl Stage<'_> {
    /// Consumers need not be waited for, they are declared: nothing is lost before they come. But
    /// the observer sees the beginning only if it is there, and the times mean more if all begin
    /// together.
    fn await_readers(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let observer = record_path(self.place, OBSERVER);
        while !(observer.exists() && self.ring.consumers().iter().all(|consumer| consumer.alive)) {
            self.see_to_the_living()?;
            if common::interrupted() {
                return Err("interrupted; every process has ended".into());
            }
            if start.elapsed() > PATIENCE {
                return Err(
                    format!("the readers did not attach within {PATIENCE:?}; is the machine busy?").into()
                );
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Ticks until every reader has finished.
    fn direct(&mut self, cues: &Cues, publisher_ended: impl Fn() -> bool) -> Result<Death, Failure> {
        let total = self.script.len();
        let mut act = Act::BeforeTheDeath;
        loop {
            if common::interrupted() {
                return Err("interrupted".into());
            }
            let ended = publisher_ended();
            let (consumers, head) = (self.ring.consumers(), self.ring.head());
            if ended && head < total {
                return Err(PublisherGone.into());
            }
            act = self.step(act, &consumers, head, cues)?;
            if !matches!(act, Act::Dead(_)) {
                self.see_to_the_living()?;
            }
            match act {
                Act::AfterIt(death) if self.readers.iter().all(|reader| reader.finished) => return Ok(death),
                _ => {}
            }
            self.progress.show(&[(head, '#')], |progress| status(progress, total, head, &consumers));
            thread::sleep(if matches!(act, Act::AfterIt(_)) { 10 * TICK } else { TICK });
        }
    }

    /// The plot.
    fn step(&mut self, act: Act, consumers: &[ConsumerInfo], head: u64, cues: &Cues) -> Result<Act, Failure> {
        let Some(victim) = consumers.iter().find(|consumer| consumer.name == VICTIM) else { return Ok(act) };
        let tail = victim.tail.unwrap_or(head);
        Ok(match act {
            Act::BeforeTheDeath if tail >= self.script.len() / 3 => {
                let pid = self.victim().pid();
                self.victim().kill()?;
                cues.killed.store(true, Ordering::Release);
                let tail = self.tail_of_victim().unwrap_or(tail);
                Act::Dead(Death {
                    pid,
                    tail,
                    at: Instant::now(),
                    published_meanwhile: 0,
                    ring_filled: false,
                    successor: 0,
                    outage: Duration::ZERO,
                })
            }
            Act::Dead(death) => {
                let filled = head - death.tail >= self.ring.capacity();
                if !filled && head < self.script.len() && death.at.elapsed() < ABSENCE_MAX {
                    return Ok(act);
                }
                let place = self.place;
                self.victim().restart(place)?;
                let (ring_filled, published_meanwhile) = (filled, head - death.tail);
                Act::Returning(Death { ring_filled, published_meanwhile, ..death })
            }
            Act::Returning(death) if victim.alive || tail > death.tail => {
                let (successor, outage) = (self.victim().pid(), death.at.elapsed());
                self.progress.tell(&format!(
                    "{VICTIM} (process {}) was killed with SIGKILL at position {}, came back by name as process \
                     {successor} after {outage:.1?}",
                    death.pid,
                    grouped(death.tail)
                ));
                Act::AfterIt(Death { successor, outage, ..death })
            }
            act => act,
        })
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.readers[1]
    }

    fn tail_of_victim(&self) -> Option<u64> {
        self.ring.consumers().into_iter().find(|consumer| consumer.name == VICTIM)?.tail
    }

    /// A consumer that another program killed is started again: it is durable. Every other
    /// early end is the end of the run.
    fn see_to_the_living(&mut self) -> Result<(), Failure> {
        for index in 0..self.readers.len() {
            let reader = &mut self.readers[index];
            let Some(status) = reader.early_end()? else { continue };
            let mut story = format!("{} (process {}) ended early, {status}", reader.role, reader.pid());
            let killed = status.signal().is_some() && !common::interrupted();
            if !killed || reader.role == OBSERVER || reader.restarts == RESTARTS_MAX {
                return Err(story.into());
            }
            reader.restart(self.place)?;
            write!(story, "; started again as process {}", reader.pid())?;
            self.progress.tell(&story);
        }
        Ok(())
    }
}

fn status(progress: &Progress, total: u64, head: u64, consumers: &[ConsumerInfo]) -> String {
    let readers: Vec<String> = consumers
        .iter()
        .map(|consumer| {
            let dead = if consumer.alive || consumer.tail == Some(total) { "" } else { " (dead)" };
            format!("{} {}%{dead}", consumer.name, progress.percent(consumer.tail.unwrap_or(head)))
        })
        .collect();
    format!("{} of {} published; {}", grouped(head), grouped(total), readers.join(", "))
}
