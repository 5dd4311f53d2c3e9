//! Where the training's images lie among an encoder's outputs, so that a model can tell an image
//! that is none of their kind: a knee, a hand, a blank plate.
//!
//! Outputs are brought to length one; around their mean most of them spread along few axes. What of
//! an output these axes do not explain is its distance.

use candle_core::{Device, Tensor};

use super::chance::Chance;
use super::error::TrainError;

/// How many principal axes are kept.
pub const AXES: usize = 32;
/// Rounds of subspace iteration: far more than the axes that matter need.
const ROUNDS: usize = 40;
/// The limit lies above the distance of 99 of 100 images kept back by this factor: what is refused
/// by mistake annoys more than a knee that is described. With 1.3 nine in a hundred adults of another
/// hospital were refused, with 1.55 hardly one, and of 400 knees still all but one; with 1.8 one in
/// twenty passes.
const MARGIN: f32 = 1.55;

/// From fewer images kept back no limit is learned.
const LEAST: usize = 50;

/// The mean and the axes of outputs, and how far an image of their kind may lie.
#[derive(Debug)]
pub struct Known {
    /// `[width]`.
    pub mean: Tensor,
    /// `[axes, width]`, orthonormal.
    pub axes: Tensor,
    /// The limit.
    pub farthest: f32,
}

impl Known {
    /// Learns mean and axes from `outputs`, a row an image, and the limit from those `kept` back;
    /// nothing from too few.
    pub fn learn(outputs: &[Vec<f32>], kept: &[Vec<f32>]) -> Result<Option<Self>, TrainError> {
        if kept.len() < LEAST {
            return Ok(None);
        }
        let rows = matrix(&outputs.iter().map(|row| unit(row)).collect::<Vec<_>>())?;
        let mean = rows.mean(0)?;
        let axes = principal_axes(&rows.broadcast_sub(&mean)?)?;
        let mut known = Self { mean, axes, farthest: 0.0 };
        let mut distances = known.distances(kept)?;
        distances.sort_by(f32::total_cmp);
        let last = (distances.len() * 99).div_ceil(100).saturating_sub(1);
        known.farthest = MARGIN * distances.get(last).copied().unwrap_or(f32::MAX / MARGIN);
        Ok(Some(known))
    }

    fn distances(&self, outputs: &[Vec<f32>]) -> Result<Vec<f32>, TrainError> {
        if outputs.is_empty() {
            return Ok(vec![]);
        }
        Ok(crate::model::scope::distances(&matrix(outputs)?, &self.mean, &self.axes)?.to_vec1()?)
    }
}

fn unit(row: &[f32]) -> Vec<f32> {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    row.iter().map(|x| x / length).collect()
}

fn matrix(rows: &[Vec<f32>]) -> Result<Tensor, TrainError> {
    let width = rows.first().map_or(0, Vec::len);
    Ok(Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu)?)
}

/// The directions of largest spread of centred rows, by subspace iteration.
fn principal_axes(rows: &Tensor) -> Result<Tensor, TrainError> {
    let width = rows.dim(1)?;
    let axes = AXES.min(width).min(rows.dim(0)?);
    let mut chance = Chance::new(0xA8E5);
    let start = (0..axes).map(|_| (0..width).map(|_| chance.normal()).collect()).collect();
    let mut basis: Vec<Vec<f32>> = orthonormal(start);
    for _ in 0..ROUNDS {
        let seen = rows.matmul(&matrix(&basis)?.t()?)?;
        basis = orthonormal(seen.t()?.matmul(rows)?.to_vec2()?);
    }
    matrix(&basis)
}

/// Gram and Schmidt, each vector against those before it, twice for the sake of rounding.
fn orthonormal(vectors: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let mut basis: Vec<Vec<f32>> = Vec::with_capacity(vectors.len());
    for mut vector in vectors {
        for _ in 0..2 {
            for other in &basis {
                let along: f32 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        basis.push(unit(&vector));
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs that lie in few directions around a mean.
    fn outputs(count: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut chance = Chance::new(seed);
        let row = |_| {
            let (a, b) = (chance.normal(), chance.normal());
            (0..40).map(|i| 5.0 + a * (i as f32).sin() + b * (i as f32).cos()).collect()
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn images_of_the_kind_lie_near_and_others_far() {
        let known = Known::learn(&outputs(200, 1), &outputs(100, 2)).unwrap().unwrap();
        let near = known.distances(&outputs(50, 3)).unwrap();
        assert!(near.iter().all(|d| *d <= known.farthest * 2.0 + 1e-6), "{near:?}");
        let mut chance = Chance::new(4);
        let strange: Vec<f32> = (0..40).map(|_| chance.normal().abs()).collect();
        let far = known.distances(&[strange]).unwrap();
        assert!(far[0] > known.farthest * 10.0, "{far:?} against {}", known.farthest);
    }
}
