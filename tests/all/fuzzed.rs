//! The fuzz targets without a fuzzer: seeds, inputs that once were fatal, and some thousand
//! mutants of both, the same in every run.

use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::doors::{TARGETS, Target};
use super::support::objects::root;

/// How long the mutants of one target may take; the seeds are all replayed.
const BUDGET: Duration = Duration::from_secs(10);
/// Mutants of one target.
const MUTANTS: usize = 20_000;
/// No input may take longer, here, where nothing is optimised.
const SLOWEST: Duration = Duration::from_secs(20);

/// The inputs of a target: `fixtures/fuzz/TARGET/`.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = root().join("fixtures/fuzz").join(target);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(!found.is_empty(), "{} is empty", folder.display());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(&path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// One change of the kinds that fuzzers make.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    let at = rng.random_range(0..bytes.len());
    match rng.random_range(0..6) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes.truncate(at),
        // Lengths and counts at their limits.
        3 => {
            let value = [0u8, 1, 0x7F, 0x80, 0xFF][rng.random_range(0..5)];
            let end = (at + [1, 2, 4, 8][rng.random_range(0..4)]).min(bytes.len());
            bytes[at..end].fill(value);
        }
        4 => {
            let end = (at + rng.random_range(1..=32)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, part);
        }
        _ => {
            let from = rng.random_range(0..=other.len());
            let end = (from + rng.random_range(0..=64)).min(other.len());
            bytes.splice(at..at, other[from..end].iter().copied());
        }
    }
}

fn call(target: &str, door: Target, name: &str, bytes: &[u8]) {
    let began = Instant::now();
    if catch_unwind(|| door(bytes)).is_err() {
        let kept = std::env::temp_dir().join(format!("thorascribe-fuzz-{target}"));
        std::fs::write(&kept, bytes).unwrap();
        panic!("{target} fell over {name}; the input is {}", kept.display());
    }
    let took = began.elapsed();
    assert!(took < SLOWEST, "{target} took {took:?} over {name}");
}

/// Every input of a target, then mutants of them.
fn replay(target: &str) {
    let (_, door) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let inputs = inputs(target);
    for (name, bytes) in &inputs {
        call(target, *door, name, bytes);
    }
    let mut rng = StdRng::seed_from_u64(14);
    let began = Instant::now();
    for number in 0..MUTANTS {
        if began.elapsed() > BUDGET {
            break;
        }
        let (name, bytes) = &inputs[rng.random_range(0..inputs.len())];
        let (_, other) = &inputs[rng.random_range(0..inputs.len())];
        let mut mutant = bytes.clone();
        for _ in 0..rng.random_range(1..=4) {
            mutate(&mut mutant, other, &mut rng);
        }
        call(target, *door, &format!("mutant {number} of {name}"), &mutant);
    }
}

#[test]
fn associations() {
    replay("associations");
}

#[test]
fn commands() {
    replay("commands");
}

#[test]
fn data_sets() {
    replay("data_sets");
}

#[test]
fn pixels() {
    replay("pixels");
}

#[test]
fn pickles() {
    replay("pickles");
}

#[test]
fn safetensors() {
    replay("safetensors");
}

#[test]
fn gguf() {
    replay("gguf");
}

#[test]
fn settings() {
    replay("settings");
}

#[test]
fn pages() {
    replay("pages");
}

/// Each target is a binary of the fuzz package, and has its test here.
#[test]
fn every_target_is_built_and_replayed() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let own = std::fs::read_to_string(root().join("tests/all/fuzzed.rs")).unwrap();
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        assert!(own.contains(&format!("replay(\"{target}\")")), "{target}");
        assert!(root().join(format!("fuzz/targets/{target}.rs")).is_file(), "{target}");
    }
}
