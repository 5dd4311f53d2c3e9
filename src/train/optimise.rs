//! AdamW with clipping, and the learning rate over a run.
//!
//! candle-nn's AdamW keeps its moments to itself, so a run that resumes would start them anew;
//! here they can be saved.

use candle_core::{Tensor, Var};

use super::error::TrainError;

/// A variable by its name.
pub type Named = (String, Var);

/// What AdamW is set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constants {
    /// Weight decay of matrices.
    pub decay: f32,
    /// How much of the second moment stays at each step.
    pub beta2: f32,
    /// The largest norm of all gradients together.
    pub clip: f32,
}

impl Default for Constants {
    fn default() -> Self {
        Self { decay: 0.05, beta2: 0.98, clip: 1.0 }
    }
}

/// Decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization").
#[derive(Debug)]
pub struct AdamW {
    /// The first and second moments, a pair a variable.
    pub(super) moments: Vec<(Vec<f32>, Vec<f32>)>,
    /// How many steps were made.
    pub(super) steps: i32,
    constants: Constants,
    /// By variable, the learning rate over that of the step.
    paces: Vec<f32>,
}

const BETA1: f32 = 0.9;
const EPSILON: f32 = 1e-8;

impl AdamW {
    /// Fresh moments for these variables. Matrices decay, vectors (biases, norms) do not;
    /// `pace` gives a variable's learning rate over that of the step.
    pub fn new(variables: &[Named], constants: Constants, pace: impl Fn(&str) -> f32) -> Self {
        let zeros = |(_, var): &Named| vec![0.0; var.elem_count()];
        let moments = variables.iter().map(|v| (zeros(v), zeros(v))).collect();
        let paces = variables.iter().map(|(name, _)| pace(name)).collect();
        Self { moments, steps: 0, constants, paces }
    }

    /// One step along these gradients, a slice a variable; gives the norm before clipping.
    pub fn step(
        &mut self,
        variables: &[Named],
        gradients: &[Vec<f32>],
        rate: f32,
    ) -> Result<f32, TrainError> {
        let Constants { decay, beta2, clip } = self.constants;
        self.steps += 1;
        let square = |g: &Vec<f32>| g.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let norm = gradients.iter().map(square).sum::<f64>().sqrt() as f32;
        let shrink = if norm > clip { clip / norm } else { 1.0 };
        let (unbias1, unbias2) = (1.0 - BETA1.powi(self.steps), 1.0 - beta2.powi(self.steps));
        for (((_, var), pace), (gradient, (first, second))) in
            variables.iter().zip(&self.paces).zip(gradients.iter().zip(&mut self.moments))
        {
            let rate = rate * pace;
            let decay = if var.rank() > 1 { decay } else { 0.0 };
            let mut values = var.flatten_all()?.to_vec1::<f32>()?;
            let slots = values.iter_mut().zip(first.iter_mut().zip(second.iter_mut()));
            for ((value, (m, v)), g) in slots.zip(gradient) {
                let g = g * shrink;
                *m += (1.0 - BETA1) * (g - *m);
                *v += (1.0 - beta2) * (g * g - *v);
                let update = (*m / unbias1) / ((*v / unbias2).sqrt() + EPSILON);
                *value -= rate * (update + decay * *value);
            }
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
        Ok(norm)
    }
}

/// How the learning rate goes over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// A straight rise, then half a cosine to nothing.
    OneCycle {
        /// The share of the run that rises.
        rise: f32,
    },
    /// A straight rise, then the half of a cosine that spans the whole run, to the least rate: LAVIS'
    /// `linear_warmup_cosine_lr`, which MiniGPT-4 and XrayGPT are trained with.
    WarmUp {
        /// The rate of the first step.
        first: f32,
        /// Steps of the rise.
        steps: u64,
        /// The rate that the run ends near.
        least: f32,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::OneCycle { rise: 0.08 }
    }
}

impl Schedule {
    /// The learning rate after so many steps, at this progress (0 to 1) of a run.
    pub fn rate(self, peak: f32, progress: f64, step: u64) -> f32 {
        match self {
            Self::OneCycle { rise } => one_cycle(peak, progress as f32, rise),
            Self::WarmUp { first, steps, .. } if step < steps => {
                let risen = step as f64 / steps as f64;
                (f64::from(first) + f64::from(peak - first) * risen) as f32
            }
            Self::WarmUp { least, .. } => {
                let left = f64::midpoint(1.0, (std::f64::consts::PI * progress.min(1.0)).cos());
                (f64::from(least) + f64::from(peak - least) * left) as f32
            }
        }
    }
}

fn one_cycle(peak: f32, progress: f32, rise: f32) -> f32 {
    if progress < rise {
        return peak * (0.05 + 0.95 * progress / rise);
    }
    let fall = ((progress - rise) / (1.0 - rise).max(f32::EPSILON)).min(1.0);
    peak * (1.0 + (std::f32::consts::PI * fall).cos()) / 2.0
}
