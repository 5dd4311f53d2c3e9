//! Whole steps of a language model, against the processor's.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use thorascribe::model::language::cache::Cache;
use thorascribe::model::language::llama::{Llama, LlamaConfig, Segment};
use thorascribe::model::language::step::{Layer, Sequence, Sizes, Step};
use thorascribe::model::layer::cuda::Machine;

use super::super::support::emulation::{Emulator, Numbers};
use super::attention::angles;
use super::{TYPES, both, numbers};

const CAPACITY: usize = 40;

fn config(heads: usize, kv_heads: usize, hidden: usize, wide: usize) -> LlamaConfig {
    let text = format!(
        r#"{{"vocab_size": 51, "hidden_size": {hidden}, "intermediate_size": {wide},
            "num_hidden_layers": 3, "num_attention_heads": {heads},
            "num_key_value_heads": {kv_heads}, "max_position_embeddings": 64}}"#
    );
    serde_json::from_str(&text).unwrap()
}

/// The same weights for a machine and for the processor.
struct Pair {
    step: Step<Emulator>,
    llama: Llama,
}

fn pair(machine: &Emulator, config: &LlamaConfig) -> Pair {
    let sizes = Sizes::of(config);
    assert!(sizes.fit(machine));
    let mut tensors = HashMap::new();
    let mut seed = 0;
    let mut draw = |name: &str, output: usize, input: Option<usize>| {
        seed += 1;
        let shape = [Some(output), input].into_iter().flatten().collect::<Vec<_>>();
        let deviation = input.map_or(1.0, |input| 1.0 / (input as f64).sqrt());
        let drawn = (numbers(&shape, seed) * deviation).unwrap();
        // As rounded as the machine has them.
        tensors.insert(name.to_owned(), machine.take(&drawn).tensor(&shape));
        tensors[name].clone()
    };
    let matrix = |parts: &[Tensor]| {
        let all = Tensor::cat(parts, 0).unwrap();
        (machine.take(&all), <[usize; 2]>::from(all.dims2().unwrap()))
    };
    let Sizes { hidden, wide, heads, kv_heads, width, vocabulary, .. } = sizes;
    let layers = (0..config.num_hidden_layers).map(|i| {
        let mut draw = |name: &str, output, input| {
            draw(&format!("model.layers.{i}.{name}.weight"), output, input)
        };
        let before = machine.take(&draw("input_layernorm", hidden, None));
        let query = draw("self_attn.q_proj", heads * width, Some(hidden));
        let key = draw("self_attn.k_proj", kv_heads * width, Some(hidden));
        let value = draw("self_attn.v_proj", kv_heads * width, Some(hidden));
        let output = draw("self_attn.o_proj", hidden, Some(heads * width));
        let after = machine.take(&draw("post_attention_layernorm", hidden, None));
        let gate = draw("mlp.gate_proj", wide, Some(hidden));
        let up = draw("mlp.up_proj", wide, Some(hidden));
        let down = draw("mlp.down_proj", hidden, Some(wide));
        Layer {
            before,
            joined: matrix(&[query, key, value]),
            output: matrix(&[output]),
            after,
            gate_up: matrix(&[gate, up]),
            down: matrix(&[down]),
        }
    });
    let layers = layers.collect();
    let norm = machine.take(&draw("model.norm.weight", hidden, None));
    let head = matrix(&[draw("lm_head.weight", vocabulary, Some(hidden))]);
    draw("model.embed_tokens.weight", vocabulary, Some(hidden));
    let step = Step { sizes, layers, norm, head, angles: angles(machine, width) };
    let source = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    Pair { step, llama: Llama::load(config, &source).unwrap() }
}

/// A sequence on both sides.
struct Both {
    cache: Cache,
    room: Numbers,
}

fn sequence(machine: &Emulator, pair: &Pair) -> Both {
    let Sizes { kv_heads, width, .. } = pair.step.sizes;
    let layers = pair.step.layers.len();
    let room = machine.room(layers * 2 * kv_heads * CAPACITY, width).unwrap();
    Both { cache: pair.llama.cache(CAPACITY).unwrap(), room }
}

/// One step of some sequences by so many positions each: the logits of their ends are the
/// processor's.
fn take(machine: &Emulator, pair: &Pair, sequences: &mut [Both], times: &[usize], seed: u64) {
    let rows = times.iter().sum::<usize>();
    let (x, x_cpu) = both(machine, &[1, rows, pair.step.sizes.hidden], seed);
    let going: Vec<Sequence> = sequences
        .iter()
        .zip(times)
        .map(|(both, time)| Sequence {
            cache: both.room.address(),
            capacity: CAPACITY,
            length: both.cache.length(),
            time: *time,
        })
        .collect();
    let mut ends = times.to_vec();
    for i in 1..ends.len() {
        ends[i] += ends[i - 1];
    }
    let wanted = ends.iter().map(|end| *end as u32 - 1).collect::<Vec<_>>();
    let got = pair.step.run(machine, x, &going, &wanted).unwrap().values();
    let mut segments = Vec::new();
    for (both, time) in sequences.iter_mut().zip(times) {
        segments.push(Segment { cache: &mut both.cache, time: *time });
    }
    let want = pair.llama.forward_ragged(&x_cpu, &mut segments).unwrap();
    let want = want.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_alike(&got, &want, machine.dtype(), &format!("{times:?}"));
}

#[track_caller]
fn assert_alike(got: &[f32], want: &[f32], dtype: DType, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let product = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    let cosine = product(got, want) / (product(got, got) * product(want, want)).sqrt();
    let least = if dtype == DType::F32 { 1.0 - 1e-9 } else { 0.999 };
    assert!(cosine >= least, "{dtype:?} {what}: cosine {cosine}");
    if dtype == DType::F32 {
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= 1e-4 * largest, "{what}: {got} for {want}");
        }
    }
}

fn story(machine: &Emulator, config: &LlamaConfig) {
    let pair = pair(machine, config);
    let mut sequences = (0..2).map(|_| sequence(machine, &pair)).collect::<Vec<_>>();
    // A prompt alone; another beside a token of the first; tokens of both; more of one.
    take(machine, &pair, &mut sequences[..1], &[5], 100);
    take(machine, &pair, &mut sequences, &[1, 3], 101);
    take(machine, &pair, &mut sequences, &[1, 1], 102);
    take(machine, &pair, &mut sequences[1..], &[1], 103);
    take(machine, &pair, &mut sequences, &[7, 2], 104);
    // More sequences at once than the kernels for few rows take.
    sequences.extend((0..4).map(|_| sequence(machine, &pair)));
    take(machine, &pair, &mut sequences[2..], &[4, 1, 2, 9], 105);
    take(machine, &pair, &mut sequences, &[1; 6], 106);
}

#[test]
fn steps_are_those_of_the_processor() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        story(&machine, &config(4, 2, 64, 72));
        story(&machine, &config(2, 2, 32, 56));
    }
}

#[test]
fn steps_of_weights_in_blocks_or_of_odd_widths_are_those_of_the_processor() {
    story(&Emulator::new(DType::F32, false), &config(4, 4, 32, 24));
    // Rows of 22 or 23 numbers are no whole loads.
    story(&Emulator::new(DType::F32, true), &config(1, 1, 22, 23));
    story(&Emulator::new(DType::F16, true), &config(2, 1, 32, 23));
}

#[test]
fn a_step_that_does_not_fit_is_refused() {
    let machine = Emulator::new(DType::F32, true);
    let pair = pair(&machine, &config(1, 1, 8, 8));
    let own = sequence(&machine, &pair);
    let run = |length: usize, time: usize, wanted: &[u32]| {
        let cache = own.room.address();
        let x = machine.take(&numbers(&[time.max(1), 8], 1));
        let going = [Sequence { cache, capacity: CAPACITY, length, time }];
        pair.step.run(&machine, x, &going, wanted).map(drop)
    };
    assert!(run(CAPACITY - 1, 2, &[1]).unwrap_err().to_string().contains("cache of 40"));
    assert!(run(0, 2, &[2]).is_err());
    assert!(run(0, 0, &[]).is_err());
    run(CAPACITY - 2, 2, &[0, 1]).unwrap();
}
