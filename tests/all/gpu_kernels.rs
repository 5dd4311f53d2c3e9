//! The kernels for a GPU, translated for the processor and launched as on a GPU, against the
//! processor's layers.

mod attention;
mod step;

use candle_core::{DType, Device, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thorascribe::model::layer::cuda::{self, Norm, NormBefore, Rows, Softmax};
use thorascribe::model::layer::{AttentionMask, attention_softmax, layer_norm, rms_norm, silu};
use thorascribe::model::sample::log_sum;

use super::support::emulation::{Emulator, Numbers};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const EPS: f32 = 1e-5;

/// Numbers within ±√3, the same in every run.
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = StdRng::seed_from_u64(seed);
    let reach = 3f32.sqrt();
    let count = shape.iter().product();
    let values = (0..count).map(|_| rng.random_range(-reach..reach)).collect::<Vec<_>>();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// What a machine holds of such numbers, and the same for the processor.
fn both(machine: &Emulator, shape: &[usize], seed: u64) -> (Numbers, Tensor) {
    let held = machine.take(&numbers(shape, seed));
    let tensor = held.tensor(shape);
    (held, tensor)
}

/// How far a result may lie from the processor's, over the largest number of it: what rounding to
/// the type makes, and a little for the order of sums.
fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 2e-6,
    }
}

#[track_caller]
fn assert_near(got: &Numbers, want: &Tensor, dtype: DType, what: &str) {
    let want = want.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let got = got.values();
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let near = (got - want).abs() <= tolerance(dtype) * largest;
        assert!(near, "{what} in {dtype:?}: number {i} is {got} for {want}");
    }
}

#[test]
fn norms_are_those_of_the_processor() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        for (held, width) in [(1, 1), (3, 7), (2, 160), (5, 257), (1, 1408)] {
            let (x, x_cpu) = both(&machine, &[held, width], 1);
            let (added, added_cpu) = both(&machine, &[held, width], 2);
            let (weight, weight_cpu) = both(&machine, &[width], 3);
            let (bias, bias_cpu) = both(&machine, &[width], 4);
            let rows = Rows { held, width, places: None };
            let eps = f64::from(EPS);

            let by = Norm { weight: &weight, bias: None, eps, centre: false };
            let (sum, y) = cuda::norm(&machine, &x, None, &by, rows).unwrap();
            assert!(sum.is_none());
            let want = rms_norm(&x_cpu, &weight_cpu, EPS).unwrap();
            assert_near(&y, &want, dtype, "root mean square");

            let (sum, y) = cuda::norm(&machine, &x, Some(&added), &by, rows).unwrap();
            let sum = sum.unwrap();
            assert_near(&sum, &(&x_cpu + &added_cpu).unwrap(), dtype, "sum");
            let want = rms_norm(&sum.tensor(&[held, width]), &weight_cpu, EPS).unwrap();
            assert_near(&y, &want, dtype, "norm of the sum");

            if width > 1 {
                let by = Norm { weight: &weight, bias: Some(&bias), eps, centre: true };
                let (_, y) = cuda::norm(&machine, &x, None, &by, rows).unwrap();
                let want = layer_norm(&x_cpu, &weight_cpu, &bias_cpu, EPS).unwrap();
                assert_near(&y, &want, dtype, "layer norm");
            }
        }
    }
}

#[test]
fn a_norm_of_some_rows_is_that_of_all() {
    let machine = Emulator::new(DType::F32, true);
    let (held, width) = (6, 24);
    let (x, x_cpu) = both(&machine, &[held, width], 1);
    let (added, added_cpu) = both(&machine, &[held, width], 2);
    let (weight, weight_cpu) = both(&machine, &[width], 3);
    let by = Norm { weight: &weight, bias: None, eps: f64::from(EPS), centre: false };
    let places = cuda::Machine::upload(&machine, &[4, 0, 5]).unwrap();
    let rows = Rows { held, width, places: Some((&places, 3)) };
    let index = Tensor::new(&[4u32, 0, 5], &Device::Cpu).unwrap();
    let all = rms_norm(&(&x_cpu + &added_cpu).unwrap(), &weight_cpu, EPS).unwrap();
    let (_, y) = cuda::norm(&machine, &x, Some(&added), &by, rows).unwrap();
    assert_near(&y, &all.index_select(&index, 0).unwrap(), DType::F32, "some rows");
}

#[test]
fn products_of_few_rows_are_those_of_the_processor() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        // Less than a warp, some over a whole round of loads, and an odd last row of the weight.
        for (input, output) in [(8, 1), (64, 10), (520, 7), (2312, 6), (4104, 3)] {
            for rows in 1..=4 {
                products(&machine, [rows, input, output]);
            }
        }
    }
}

fn products(machine: &Emulator, sizes: [usize; 3]) {
    let dtype = cuda::Machine::dtype(machine);
    let [rows, input, output] = sizes;
    assert!(cuda::product_fits(dtype, rows, input));
    let (x, x_cpu) = both(machine, &[rows, input], 1);
    let (weight, weight_cpu) = both(machine, &[output, input], 2);
    let (gain, gain_cpu) = both(machine, &[input], 3);
    let (residual, residual_cpu) = both(machine, &[rows, output], 4);
    let through = |x: &Tensor| x.matmul(&weight_cpu.t().unwrap()).unwrap();

    let y = cuda::product(machine, &x, &weight, None, None, sizes).unwrap();
    assert_near(&y, &through(&x_cpu), dtype, &format!("product of {sizes:?}"));

    let y = cuda::product(machine, &x, &weight, None, Some(&residual), sizes).unwrap();
    let want = (through(&x_cpu) + &residual_cpu).unwrap();
    assert_near(&y, &want, dtype, &format!("product of {sizes:?} and residual"));

    let normed = rms_norm(&x_cpu, &gain_cpu, EPS).unwrap();
    let before = NormBefore { weight: &gain, eps: f64::from(EPS), gated: false };
    let y = cuda::product(machine, &x, &weight, Some(before), None, sizes).unwrap();
    assert_near(&y, &through(&normed), dtype, &format!("norm and product of {sizes:?}"));

    if output % 2 == 0 {
        let before = NormBefore { gated: true, ..before };
        let y = cuda::product(machine, &x, &weight, Some(before), None, sizes).unwrap();
        let want = silu_of_first(&through(&normed));
        assert_near(&y, &want, dtype, &format!("gates of {sizes:?}"));
    }
}

/// `silu(gate) · up` of rows that hold both.
fn silu_of_first(both: &Tensor) -> Tensor {
    let wide = both.dim(1).unwrap() / 2;
    let gates = silu(&both.narrow(1, 0, wide).unwrap().contiguous().unwrap()).unwrap();
    (gates * both.narrow(1, wide, wide).unwrap()).unwrap()
}

#[test]
fn gates_are_those_of_the_processor() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        for (rows, wide) in [(1, 1), (5, 31), (2, 256), (3, 600)] {
            let (x, x_cpu) = both(&machine, &[rows, 2 * wide], 1);
            let y = cuda::gated(&machine, &x, rows, wide).unwrap();
            assert_near(&y, &silu_of_first(&x_cpu), dtype, "gates");
        }
    }
}

#[test]
fn softmax_is_that_of_the_processor() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        for shape in [[1, 1, 1, 1], [2, 3, 5, 5], [4, 2, 7, 33], [2, 1, 3, 257]] {
            let [batch, heads, rows, columns] = shape;
            let (x, x_cpu) = both(&machine, &shape, 1);
            let (bias, bias_cpu) = both(&machine, &[heads, rows, columns], 2);
            let table = numbers(&[batch, rows, columns], 3);
            let mask = machine.take_as(&table, DType::F32);
            let all = table.flatten_all().unwrap().to_vec1().unwrap();
            let windows = AttentionMask::Windows { table: all.into(), windows: batch };
            let first = columns - rows;
            let causal = AttentionMask::Causal { first };
            let by = Softmax { shape, scale: 0.3, bias: None, mask: None, first: None };
            let cases = [
                (Softmax { ..by }, None, AttentionMask::None),
                (Softmax { bias: Some(&bias), ..by }, Some(&bias_cpu), AttentionMask::None),
                (
                    Softmax { bias: Some(&bias), mask: Some((&mask, batch)), ..by },
                    Some(&bias_cpu),
                    windows,
                ),
                (Softmax { first: Some(first), ..by }, None, causal),
            ];
            for (by, bias, mask) in cases {
                let y = cuda::softmax(&machine, &x, &by).unwrap();
                let want = attention_softmax(&x_cpu, 0.3, bias, &mask).unwrap();
                assert_near(&y, &want, dtype, &format!("softmax of {shape:?}, {mask:?}"));
            }
        }
    }
}

#[test]
fn logits_come_with_the_logarithm_of_their_sum() {
    for dtype in TYPES {
        let machine = Emulator::new(dtype, true);
        for (rows, width) in [(1, 1), (3, 51), (2, 1300)] {
            let (x, x_cpu) = both(&machine, &[rows, width], 1);
            let got = cuda::logits(&machine, &x, rows, width).unwrap().tensor(&[rows, width + 1]);
            for row in 0..rows {
                let got = got.get(row).unwrap().to_vec1::<f32>().unwrap();
                let want = x_cpu.get(row).unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(got[..width], want);
                assert!((got[width] - log_sum(&want)).abs() < 1e-5, "{} of {width}", got[width]);
            }
        }
    }
}
