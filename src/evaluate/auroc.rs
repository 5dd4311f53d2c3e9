//! How well scores tell positives from negatives.

use super::bootstrap::Ranked;

/// The area under the receiver operating characteristic, ties counted half (Mann and Whitney).
/// `None` without a positive or without a negative.
pub fn auroc(scores: &[f32], truth: &[bool]) -> Option<f64> {
    let items = scores.iter().zip(truth).map(|(score, truth)| (Some(*score), Some(*truth)));
    Ranked::new(items).auroc(&vec![1; scores.len()])
}

/// The threshold with the best F1 among those that call between half and three times as many
/// positive as there are; probabilities at or above it are positive, and it is one itself. `None`
/// without a positive.
pub fn threshold(scores: &[f32], truth: &[bool]) -> Option<f32> {
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(truth.iter().copied()).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = pairs.iter().filter(|p| p.1).count();
    let (mut best, mut at) = (-1.0, None);
    let mut hits = 0;
    let next = pairs.iter().skip(1).map(|p| p.0).chain([0.0]);
    for (rank, ((score, positive), following)) in pairs.iter().zip(next).enumerate() {
        hits += usize::from(*positive);
        let called = rank + 1;
        if positives == 0 || 2 * called < positives || called > 3 * positives {
            continue;
        }
        let f1 = 2.0 * hits as f64 / (called + positives) as f64;
        if f1 > best {
            // Midway to the next score, so that rounding of the weights moves no study across.
            (best, at) = (f1, Some(f32::midpoint(*score, following)));
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_counts_pairs_in_order_and_ties_half() {
        let truth = [false, false, true, true];
        assert_eq!(auroc(&[0.1, 0.2, 0.3, 0.4], &truth), Some(1.0));
        assert_eq!(auroc(&[0.4, 0.3, 0.2, 0.1], &truth), Some(0.0));
        assert_eq!(auroc(&[0.1, 0.3, 0.3, 0.4], &truth), Some(0.875));
        assert_eq!(auroc(&[0.1, 0.2], &[true, true]), None);
    }

    #[test]
    fn threshold_lies_between_the_groups_that_it_parts() {
        let at = threshold(&[0.1, 0.2, 0.8, 0.9], &[false, false, true, true]).unwrap();
        assert!(at > 0.2 && at < 0.8, "{at}");
    }

    #[test]
    fn threshold_is_a_probability_also_where_all_or_none_are_called() {
        let at = threshold(&[0.2, 0.4, 0.9], &[true, true, true]).unwrap();
        assert!(at > 0.0 && at < 0.2, "{at}");
        assert_eq!(threshold(&[0.2, 1.0], &[false, false]), None);
    }
}
