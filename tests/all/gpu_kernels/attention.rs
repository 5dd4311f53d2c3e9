//! Attention over caches, for sequences of different lengths.

use candle_core::{DType, Device, Tensor};
use thorascribe::model::layer::cuda::{self, Attention, Machine};
use thorascribe::model::layer::{AttentionMask, Rotary, attention_softmax};

use super::super::support::emulation::{Emulator, Numbers};
use super::{TYPES, assert_near, both, numbers};

/// The cache of a sequence with as many layers as `LAYERS`, and what it holds of one.
struct Held {
    room: Numbers,
    keys: Tensor,
    values: Tensor,
    length: usize,
}

const LAYERS: usize = 2;
const LAYER: usize = 1;
const CAPACITY: usize = 300;
const POSITIONS: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Heads {
    queries: usize,
    keys: usize,
    width: usize,
}

fn held(machine: &Emulator, heads: Heads, length: usize, seed: u64) -> Held {
    let Heads { keys: kv_heads, width, .. } = heads;
    let shape = [LAYERS, 2, kv_heads, CAPACITY, width];
    let (_, all) = both(machine, &shape, seed);
    // What lies behind the positions held must not be looked at.
    let nothing =
        Tensor::full(f32::NAN, (LAYERS, 2, kv_heads, CAPACITY - length, width), &Device::Cpu);
    let all = Tensor::cat(&[&all.narrow(3, 0, length).unwrap(), &nothing.unwrap()], 3).unwrap();
    let room = machine.take(&all);
    let part = |which: usize| {
        all.get(LAYER)
            .unwrap()
            .get(which)
            .unwrap()
            .narrow(1, 0, length)
            .unwrap()
            .unsqueeze(0)
            .unwrap()
    };
    Held { keys: part(0), values: part(1), room, length }
}

/// The processor's answer for the new rows of one sequence, and the keys and values it then has.
fn expected(rotary: &Rotary, held: &Held, rows: &Tensor, heads: Heads) -> [Tensor; 3] {
    let Heads { queries: heads, keys: kv_heads, width } = heads;
    let time = rows.dim(0).unwrap();
    let part = |at: usize, heads: usize| {
        let part = rows.narrow(1, at * width, heads * width).unwrap();
        let part = part.reshape((1, time, heads, width)).unwrap();
        part.transpose(1, 2).unwrap().contiguous().unwrap()
    };
    let q = rotary.forward(&part(0, heads), held.length).unwrap();
    let k = rotary.forward(&part(heads, kv_heads), held.length).unwrap();
    let v = part(heads + kv_heads, kv_heads);
    let k = Tensor::cat(&[&held.keys, &k], 2).unwrap();
    let v = Tensor::cat(&[&held.values, &v], 2).unwrap();
    let seen = held.length + time;
    let shared = heads / kv_heads;
    let spread = |t: &Tensor| {
        let t = t.unsqueeze(2).unwrap().expand((1, kv_heads, shared, seen, width)).unwrap();
        t.reshape((1, heads, seen, width)).unwrap()
    };
    let scores = q.matmul(&spread(&k).t().unwrap().contiguous().unwrap()).unwrap();
    let scale = 1.0 / (width as f32).sqrt();
    let mask = AttentionMask::Causal { first: held.length };
    let weights = attention_softmax(&scores, scale, None, &mask).unwrap();
    let mixed = weights.matmul(&spread(&v)).unwrap().transpose(1, 2).unwrap();
    [mixed.reshape((time, heads * width)).unwrap(), k, v]
}

/// The keys (0) or values (1) of the layer that a cache holds now.
fn kept(held: &Held, heads: Heads, which: usize, length: usize) -> Tensor {
    let Heads { keys: kv_heads, width, .. } = heads;
    let all = held.room.tensor(&[LAYERS, 2, kv_heads, CAPACITY, width]);
    all.get(LAYER).unwrap().get(which).unwrap().narrow(1, 0, length).unwrap().unsqueeze(0).unwrap()
}

/// Sequences `(length, time)` that go on together.
fn go_on(machine: &Emulator, heads: Heads, sequences: &[(usize, usize)], alone: bool) {
    let what = format!("{heads:?} {sequences:?} alone: {alone}");
    let dtype = machine.dtype();
    let row = (heads.queries + 2 * heads.keys) * heads.width;
    let rotary = Rotary::new(heads.width, POSITIONS, 10_000.0, &Device::Cpu).unwrap();
    let held: Vec<Held> =
        sequences.iter().enumerate().map(|(i, s)| held(machine, heads, s.0, i as u64)).collect();
    let rows = sequences.iter().map(|s| s.1).sum();
    let (joined, joined_cpu) = both(machine, &[rows, row], 99);
    let mut words = Vec::new();
    for (held, (length, time)) in held.iter().zip(sequences) {
        for position in *length..length + time {
            words.extend([held.room.address() as i64, CAPACITY as i64, position as i64]);
        }
    }
    let places = machine.upload(&words).unwrap();
    let [cosines, sines] = angles(machine, heads.width);
    let attention = Attention {
        joined: &joined,
        places: &places,
        angles: [&cosines, &sines],
        layer: LAYER,
        heads: heads.queries,
        kv_heads: heads.keys,
        width: heads.width,
        rows,
    };
    if !alone {
        cuda::append(machine, &attention).unwrap();
    }
    let mixed = cuda::attend(machine, &attention, alone).unwrap();
    let mixed = mixed.tensor(&[rows, heads.queries * heads.width]);
    let mut at = 0;
    for (held, (length, time)) in held.iter().zip(sequences) {
        let own = joined_cpu.narrow(0, at, *time).unwrap();
        let [want, keys, values] = expected(&rotary, held, &own, heads);
        let got = machine.take(&mixed.narrow(0, at, *time).unwrap());
        assert_near(&got, &want, dtype, &what);
        let end = length + time;
        let keep = |which| machine.take(&kept(held, heads, which, end));
        assert_near(&keep(0), &keys, dtype, &format!("keys of {what}"));
        assert_near(&keep(1), &values, dtype, &format!("values of {what}"));
        at += time;
    }
}

/// Cosines and sines of all positions, as the processor's rotary embedding has them.
pub(super) fn angles(machine: &Emulator, width: usize) -> [Numbers; 2] {
    let rotary = Rotary::new(width, POSITIONS, 10_000.0, &Device::Cpu).unwrap();
    let half = width / 2;
    let one = Tensor::ones((1, 1, POSITIONS, half), DType::F32, &Device::Cpu).unwrap();
    // A head of (1, 0) is turned to (cosine, sine).
    let x = Tensor::cat(&[&one, &one.zeros_like().unwrap()], 3).unwrap();
    let turned = rotary.forward(&x, 0).unwrap();
    [0, half].map(|at| machine.take_as(&turned.narrow(3, at, half).unwrap(), DType::F32))
}

#[test]
fn rows_see_their_own_sequence_up_to_themselves() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        for (queries, keys, width) in
            [(2, 2, 128), (4, 2, 40), (6, 3, 6), (3, 1, 2), (2, 1, 64), (1, 1, 256), (2, 2, 100)]
        {
            let heads = Heads { queries, keys, width };
            go_on(&machine, heads, &[(0, 1), (1, 1), (37, 1), (130, 1)], true);
            go_on(&machine, heads, &[(0, 5), (9, 1), (70, 3)], false);
        }
    }
}

#[test]
fn many_rows_with_many_heads_are_taken_together() {
    let machine = Emulator::new(DType::F32, true);
    let heads = Heads { queries: 24, keys: 24, width: 8 };
    go_on(&machine, heads, &[(3, 7), (0, 5)], false);
    go_on(&machine, heads, &[(5, 1); 12], true);
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    for dtype in TYPES {
        assert!(cuda::head_fits(dtype, 128) && cuda::head_fits(dtype, 6));
        assert!(!cuda::head_fits(dtype, 7) && !cuda::head_fits(dtype, 0));
    }
    assert!(cuda::head_fits(DType::F16, 512) && !cuda::head_fits(DType::F16, 514));
    assert!(cuda::head_fits(DType::F32, 256) && !cuda::head_fits(DType::F32, 258));
    let machine = Emulator::new(DType::F32, true);
    let x = machine.take(&numbers(&[1, 6], 1));
    assert!(cuda::product(&machine, &x, &x, None, None, [1, 6, 1]).is_err());
}
