//! Gradients of a batch, computed by several threads at once.
//!
//! Each thread has a rayon pool of one thread of its own, so that candle's operators, which are
//! mostly serial, run side by side instead of one after the other with a split inside.

use candle_core::Tensor;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::error::TrainError;
use super::optimise::Named;

/// The sum of the losses of some items, and how much it counts.
pub type Loss = (Tensor, f32);

/// The threads.
#[derive(Debug)]
pub struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// That many threads, at least one.
    pub fn new(threads: usize) -> Result<Self, TrainError> {
        let pool = |_| ThreadPoolBuilder::new().num_threads(1).build().map_err(|e| lost(&e));
        Ok(Self { pools: (0..threads.max(1)).map(pool).collect::<Result<_, _>>()? })
    }

    /// The mean loss over the items and its gradient by each variable; each thread takes its items
    /// `at_once` by `at_once`.
    pub fn gradients(
        &self,
        variables: &[Named],
        items: &[usize],
        at_once: usize,
        loss: impl Fn(&[usize]) -> Result<Loss, TrainError> + Sync,
    ) -> Result<(f32, Vec<Vec<f32>>), TrainError> {
        let parts = self.map(items, |part| {
            let few = part.chunks(at_once.max(1)).map(|few| gradients(variables, few, &loss));
            few.reduce(|a, b| Ok(joined(a?, b?)))
                .unwrap_or_else(|| gradients(variables, &[], &loss))
        })?;
        let Some((total, weight, mut sum)) = parts.into_iter().reduce(joined) else {
            return Ok((0.0, vec![]));
        };
        for gradient in &mut sum {
            for g in gradient {
                *g /= weight;
            }
        }
        Ok((total / weight, sum))
    }

    /// The items in as many parts as there are threads, each worked on by one; results in order.
    pub fn map<T: Send>(
        &self,
        items: &[usize],
        work: impl Fn(&[usize]) -> Result<T, TrainError> + Sync,
    ) -> Result<Vec<T>, TrainError> {
        let size = items.len().div_ceil(self.pools.len()).max(1);
        std::thread::scope(|scope| {
            let work = &work;
            let started: Vec<_> = items
                .chunks(size)
                .zip(&self.pools)
                .map(|(part, pool)| scope.spawn(move || pool.install(|| work(part))))
                .collect();
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_panic| Err(panicked())))
                .collect()
        })
    }
}

/// The sum of the losses, what it counts, and its gradient by each variable.
type Gradients = (f32, f32, Vec<Vec<f32>>);

fn gradients(
    variables: &[Named],
    items: &[usize],
    loss: &impl Fn(&[usize]) -> Result<Loss, TrainError>,
) -> Result<Gradients, TrainError> {
    let (sum, weight) = loss(items)?;
    let store = sum.backward()?;
    let gradient = |(_, var): &Named| match store.get(var) {
        Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
        None => Ok(vec![0.0; var.elem_count()]),
    };
    let gradients = variables.iter().map(gradient).collect::<Result<Vec<_>, _>>()?;
    Ok((sum.to_scalar::<f32>()?, weight, gradients))
}

fn joined(mut a: Gradients, b: Gradients) -> Gradients {
    for (into, from) in a.2.iter_mut().zip(b.2) {
        into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    }
    (a.0 + b.0, a.1 + b.1, a.2)
}

fn lost(error: &rayon::ThreadPoolBuildError) -> TrainError {
    TrainError::Worker { reason: error.to_string() }
}

fn panicked() -> TrainError {
    TrainError::Worker { reason: "it panicked".to_owned() }
}
