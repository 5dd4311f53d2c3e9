//! The average of the variables over the steps of a run (Polyak): it generalises better than the
//! variables of any one step.

use candle_core::Tensor;

use super::error::TrainError;
use super::optimise::Named;

/// An exponential average, or none.
#[derive(Debug)]
pub struct Average {
    decay: f32,
    values: Vec<Vec<f32>>,
    /// How many steps were followed.
    pub(super) steps: i32,
}

impl Average {
    /// Begins with the variables as they are. Without a decay it stays empty and does nothing.
    pub fn new(decay: Option<f32>, variables: &[Named]) -> Result<Self, TrainError> {
        let followed = if decay.is_some() { variables } else { &[] };
        let values = followed.iter().map(numbers).collect::<Result<_, _>>()?;
        Ok(Self { decay: decay.unwrap_or_default(), values, steps: 0 })
    }

    /// Takes in the variables after a step. The first steps count more, so that the beginning is
    /// soon forgotten.
    pub fn follow(&mut self, variables: &[Named]) -> Result<(), TrainError> {
        self.steps += 1;
        let young = (1.0 + self.steps as f32) / (10.0 + self.steps as f32);
        let decay = self.decay.min(young);
        for (average, variable) in self.values.iter_mut().zip(variables) {
            let now = numbers(variable)?;
            average.iter_mut().zip(now).for_each(|(a, x)| *a += (1.0 - decay) * (x - *a));
        }
        Ok(())
    }

    /// Puts the average in the place of the variables and keeps these; a second call undoes it.
    pub fn swap(&mut self, variables: &[Named]) -> Result<(), TrainError> {
        for (average, variable) in self.values.iter_mut().zip(variables) {
            let now = numbers(variable)?;
            let var = &variable.1;
            var.set(&Tensor::from_slice(average, var.shape(), var.device())?)?;
            *average = now;
        }
        Ok(())
    }

    /// The average of each variable; empty without a decay.
    pub(super) fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    pub(super) fn values_mut(&mut self) -> &mut [Vec<f32>] {
        &mut self.values
    }
}

fn numbers((_, var): &Named) -> Result<Vec<f32>, TrainError> {
    Ok(var.flatten_all()?.to_vec1::<f32>()?)
}
