//! The same targets without a fuzzer: inputs by chance, and changed ones of a corpus, as fast as they go.
//!
//! `plain <attach|words> <executions> <seed> <corpus>`; a seed repeats its run.

use std::hash::{DefaultHasher, Hash, Hasher};

const LONGEST: usize = 96;

/// SplitMix64 (Steele, Lea, Flood 2014).
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ mixed >> 31) as usize >> 1
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [target, executions, seed, corpus] = given.as_slice() else {
        panic!("plain <attach|words> <executions> <seed> <corpus>")
    };
    let run: fn(&[u8]) = match target.as_str() {
        "attach" => slipring_fuzz::attach::run,
        _ => slipring_fuzz::words::run,
    };
    let files = std::fs::read_dir(corpus).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let corpus: Vec<Vec<u8>> = files.collect();
    let mut hasher = DefaultHasher::new();
    (target, seed).hash(&mut hasher);
    let mut state = hasher.finish();
    let executions: u64 = executions.parse().unwrap();
    let start = std::time::Instant::now();
    for _ in 0..executions {
        let mut input = match random(&mut state) % 4 {
            0 => vec![0; random(&mut state) % LONGEST],
            _ => corpus[random(&mut state) % corpus.len()].clone(),
        };
        if random(&mut state) % 2 == 0 {
            let other = &corpus[random(&mut state) % corpus.len()];
            input.extend_from_slice(&other[random(&mut state) % (other.len() + 1)..]);
        }
        let changes =
            1 + random(&mut state) % 8 + if input.iter().all(|&byte| byte == 0) { LONGEST } else { 0 };
        for _ in 0..changes.min(2 * input.len()) {
            let at = random(&mut state) % input.len();
            input[at] = random(&mut state) as u8;
        }
        input.truncate(LONGEST);
        let outcome = std::panic::catch_unwind(|| run(&input));
        assert!(outcome.is_ok(), "the input {input:?}");
    }
    println!("{executions} executions in {:?}", start.elapsed());
}
