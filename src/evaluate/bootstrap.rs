//! Percentile intervals by resampling whole groups, such as all images of a patient.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::chance::Chance;

/// How often is resampled.
pub const RESAMPLES: u64 = 1000;

/// The middle 95% of a statistic over resamples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

/// Which items are drawn together.
#[derive(Debug, Clone)]
pub struct Groups {
    of: Vec<usize>,
    count: usize,
}

impl Groups {
    /// Each item by itself.
    pub fn single(items: usize) -> Self {
        Self { of: (0..items).collect(), count: items }
    }

    /// Items of one name together; those without a name each by itself.
    pub fn named<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let (mut known, mut count, mut of) = (BTreeMap::new(), 0, Vec::new());
        for name in names {
            let next = count;
            let group = name.map_or(next, |name| *known.entry(name).or_insert(next));
            count += usize::from(group == next);
            of.push(group);
        }
        Self { of, count }
    }

    /// How many items there are.
    pub fn items(&self) -> usize {
        self.of.len()
    }

    /// The interval of a statistic, seeded. The statistic is given how often each item was drawn,
    /// and gives `None` where a draw leaves it undefined; such draws are left out.
    pub fn interval(
        &self,
        seed: u64,
        statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
    ) -> Option<Interval> {
        let draw = |resample: u64| {
            let mut chance = Chance::of(seed, resample);
            let mut drawn = vec![0_u32; self.count];
            for _ in 0..self.count {
                if let Some(times) = drawn.get_mut(chance.below(self.count)) {
                    *times += 1;
                }
            }
            let times = |group: &usize| drawn.get(*group).copied().unwrap_or_default();
            statistic(&self.of.iter().map(times).collect::<Vec<_>>())
        };
        let mut values: Vec<f64> = (0..RESAMPLES).into_par_iter().filter_map(draw).collect();
        values.sort_by(f64::total_cmp);
        Some(Interval { low: percentile(&values, 0.025)?, high: percentile(&values, 0.975)? })
    }
}

/// A percentile of sorted values, linear between neighbours (NumPy's default).
fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let below = place.floor();
    let low = *sorted.get(below as usize)?;
    let high = sorted.get(below as usize + 1).copied().unwrap_or(low);
    Some(low + (high - low) * (place - below))
}

/// Items by rising score, for AUROC over many resamples.
#[derive(Debug)]
pub struct Ranked {
    /// The item, whether it is positive, and whether its score is that of the one before.
    order: Vec<(usize, bool, bool)>,
}

impl Ranked {
    /// Of items with a score and a truth; those that lack one are left out.
    pub fn new(items: impl IntoIterator<Item = (Option<f32>, Option<bool>)>) -> Self {
        let items = items.into_iter().enumerate();
        let mut known: Vec<(f32, usize, bool)> =
            items.filter_map(|(at, (score, truth))| Some((score?, at, truth?))).collect();
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut before = None;
        let order = known.iter().map(|(score, at, truth)| {
            let tied = before.replace(*score).is_some_and(|b: f32| b.total_cmp(score).is_eq());
            (*at, *truth, tied)
        });
        Self { order: order.collect() }
    }

    /// How many positives there are.
    pub fn positives(&self) -> usize {
        self.order.iter().filter(|item| item.1).count()
    }

    /// How many items have both score and truth.
    pub fn known(&self) -> usize {
        self.order.len()
    }

    /// The area under the curve, ties counted half, each item as often as `times` says.
    pub fn auroc(&self, times: &[u32]) -> Option<f64> {
        let (mut below, mut area, mut positives) = (0.0, 0.0, 0.0);
        let (mut hits, mut misses) = (0.0, 0.0);
        for (item, positive, tied) in &self.order {
            if !tied {
                area += hits * (below + misses / 2.0);
                below += misses;
                (hits, misses) = (0.0, 0.0);
            }
            let weight = f64::from(times.get(*item).copied().unwrap_or_default());
            if *positive {
                hits += weight;
                positives += weight;
            } else {
                misses += weight;
            }
        }
        area += hits * (below + misses / 2.0);
        below += misses;
        let pairs = positives * below;
        (pairs > 0.0).then(|| area / pairs)
    }
}
