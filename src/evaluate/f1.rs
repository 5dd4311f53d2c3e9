//! F1 of findings said against findings so.

use std::collections::BTreeMap;

use crate::vocabulary::Observation;

/// Counts by observation, of one case or of many.
#[derive(Debug, Clone, Default)]
pub struct Counts(BTreeMap<Observation, Count>);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    hits: u64,
    said: u64,
    so: u64,
}

impl Count {
    fn f1(self) -> Option<f64> {
        let both = self.said + self.so;
        (both > 0).then(|| 2.0 * self.hits as f64 / both as f64)
    }
}

impl Counts {
    /// Of one case: an observation, whether the text states it, whether it is so. What is not known
    /// to be so or not is left out.
    pub fn of(case: impl IntoIterator<Item = (Observation, bool, Option<bool>)>) -> Self {
        let known = case.into_iter().filter_map(|(o, said, so)| Some((o, said, so?)));
        let counts = known.filter(|(_, said, so)| *said || *so).map(|(o, said, so)| {
            let count = Count { hits: (said && so).into(), said: said.into(), so: so.into() };
            (o, count)
        });
        Self(counts.collect())
    }

    /// The sum over cases, each as often as `times` says.
    pub fn sum(cases: &[Self], times: &[u32]) -> Self {
        let mut sum = BTreeMap::<_, Count>::new();
        for (case, times) in cases.iter().zip(times) {
            for (observation, count) in &case.0 {
                let into = sum.entry(*observation).or_default();
                let times = u64::from(*times);
                into.hits += count.hits * times;
                into.said += count.said * times;
                into.so += count.so * times;
            }
        }
        Self(sum)
    }

    /// Over all observations pooled; `None` when nothing is said and nothing so.
    pub fn micro(&self) -> Option<f64> {
        let add = |a: Count, b: &Count| Count {
            hits: a.hits + b.hits,
            said: a.said + b.said,
            so: a.so + b.so,
        };
        self.0.values().fold(Count::default(), add).f1()
    }

    /// The mean over the observations that are so at least once.
    pub fn macro_(&self) -> Option<f64> {
        let positive = self.0.values().filter(|count| count.so > 0);
        let f1: Vec<f64> = positive.filter_map(|count| count.f1()).collect();
        (!f1.is_empty()).then(|| f1.iter().sum::<f64>() / f1.len() as f64)
    }

    /// Of one observation; `None` where it is neither said nor so.
    pub fn one(&self, observation: Observation) -> Option<f64> {
        self.0.get(&observation).and_then(|count| count.f1())
    }

    /// The best text that never changes: the findings that are so most often where they are known,
    /// as many as serve; with its micro-F1. `known` gives in how many cases a finding is known.
    pub fn best_constant(
        &self,
        known: impl Fn(Observation) -> usize,
    ) -> Option<(Vec<Observation>, f64)> {
        let counted = self.0.iter().map(|(o, count)| (count.so, known(*o) as u64, *o));
        let mut common: Vec<(u64, u64, Observation)> =
            counted.filter(|(so, _, _)| *so > 0).collect();
        // As fractions, multiplied out.
        common.sort_by(|a, b| (b.0 * a.1).cmp(&(a.0 * b.1)).then(a.2.cmp(&b.2)));
        let so: u64 = common.iter().map(|(so, _, _)| so).sum();
        let (mut hits, mut said, mut best) = (0, 0, None::<(usize, f64)>);
        for (at, (positives, known, _)) in common.iter().enumerate() {
            hits += positives;
            said += known;
            let f1 = 2.0 * hits as f64 / (said + so) as f64;
            if best.is_none_or(|(_, most)| f1 > most) {
                best = Some((at + 1, f1));
            }
        }
        let (many, f1) = best?;
        Some((common.into_iter().take(many).map(|(_, _, o)| o).collect(), f1))
    }
}
