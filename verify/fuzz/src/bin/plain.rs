//! The same targets without a fuzzer: inputs by chance, and changed ones of a corpus, as fast as
//! they go.
//!
//! `plain <attach|segment|words> <executions> <seed> <corpus>`; a seed repeats its run.

use kit::Dice;
use std::hash::{DefaultHasher, Hash, Hasher};

const LONGEST: usize = 96;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [target, executions, seed, corpus] = given.as_slice() else {
        panic!("plain <attach|segment|words> <executions> <seed> <corpus>")
    };
    let run: fn(&[u8]) = match target.as_str() {
        "attach" => slipring_fuzz::attach::run,
        "segment" => slipring_fuzz::segment::run,
        _ => slipring_fuzz::words::run,
    };
    let files = std::fs::read_dir(corpus).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let corpus: Vec<Vec<u8>> = files.collect();
    let mut hasher = DefaultHasher::new();
    (target, seed).hash(&mut hasher);
    let mut dice = Dice::new(hasher.finish());
    let executions: u64 = executions.parse().unwrap();
    let start = std::time::Instant::now();
    for _ in 0..executions {
        let mut input = match dice.roll(4) {
            0 => vec![0; dice.index(LONGEST)],
            _ => corpus[dice.index(corpus.len())].clone(),
        };
        if dice.hits(2) {
            let other = &corpus[dice.index(corpus.len())];
            input.extend_from_slice(&other[dice.index(other.len() + 1)..]);
        }
        let changes = dice.size(8) + if input.iter().all(|&byte| byte == 0) { LONGEST } else { 0 };
        for _ in 0..changes.min(2 * input.len()) {
            let at = dice.index(input.len());
            input[at] = dice.any() as u8;
        }
        input.truncate(LONGEST);
        let outcome = std::panic::catch_unwind(|| run(&input));
        assert!(outcome.is_ok(), "the input {input:?}");
    }
    println!("{executions} executions in {:?}", start.elapsed());
}
