//! How a model is run: every interleaving up to a bound on preemptions, counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// Preemptions per execution on every commit. One more takes some ten times as long.
pub const BOUND: usize = 3;

/// A model: a question to the protocol, and how many executions its exploration takes.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The tag in the table of pairs.
    pub name: &'static str,
    /// The question it answers.
    pub question: &'static str,
    /// Executions explored at [`BOUND`], as recorded when the model was last changed.
    pub executions: usize,
    /// Runs it at a preemption bound and counts the executions. Panics when the answer is no.
    pub run: fn(usize) -> usize,
}

impl Model {
    /// Runs the model at a bound.
    ///
    /// # Panics
    ///
    /// If an execution fails, or, at [`BOUND`], if notably fewer executions were explored than
    /// recorded: then the model, or the checker, has gone blind.
    pub fn check(&self, bound: usize) -> usize {
        let executions = (self.run)(bound);
        assert!(
            bound != BOUND || executions * 10 >= self.executions * 9,
            "{} explored {executions} executions, {} are on record: the model has gone blind",
            self.name,
            self.executions
        );
        executions
    }
}

/// Explores one scenario and counts its executions.
pub fn explore(bound: usize, scenario: impl Fn() + Sync + Send + 'static) -> usize {
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = 20_000;
    // Never ended early: loom takes these from the environment and then says that all was well.
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        scenario();
    });
    executions.load(Relaxed)
}

/// Explores a scenario in which a party is killed before its n-th access, for every n; counts the
/// executions of all. The scenario gets n and returns true if the party survived, which ends the
/// series.
pub fn killed_at_each(
    bound: usize,
    scenario: impl Fn(usize) -> bool + Clone + Sync + Send + 'static,
) -> usize {
    let mut executions = 0;
    for accesses in 0.. {
        let survived = Arc::new(AtomicBool::new(false));
        let (outcome, scenario) = (Arc::clone(&survived), scenario.clone());
        executions += explore(bound, move || outcome.store(scenario(accesses), Relaxed));
        if survived.load(Relaxed) {
            break;
        }
    }
    executions
}

/// Does each piece of work on whichever core is free next; what becomes of them, in their order.
///
/// # Panics
///
/// If a piece of work does.
pub fn on_every_core<T: Send, R: Send>(
    work: impl IntoIterator<Item = T>,
    run: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let queue: Mutex<VecDeque<(usize, T)>> = Mutex::new(work.into_iter().enumerate().collect());
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic while it is held").pop_front();
                    let Some((number, work)) = next else { break };
                    let result = run(work);
                    results.lock().expect("no panic while it is held").insert(number, result);
                }
            });
        }
    });
    results.into_inner().expect("no panic while it is held").into_values().collect()
}
