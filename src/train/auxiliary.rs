//! What an encoder is taught beside the findings: who is shown and how. A few thousand radiographs
//! are few; age, sex and view are known of each, with hardly an error, and what tells them (bone, heart,
//! the diaphragm's height, breasts, how a patient was held) serves the findings too. The head that
//! tells them is left behind when the training ends.

use candle_core::{Device, Tensor};

use super::error::TrainError;
use super::loss::binary_cross_entropy;
use super::release::About;

/// Outputs of the head: age, male, posteroanterior.
pub(super) const OUTPUTS: usize = 3;

/// Where the head's variables stand.
pub(super) const HEAD: &str = "auxiliary";

/// What these lessons weigh beside the mean loss of the findings. Over five folds of the radiographs
/// trained on 0.2 was better than none, and better than 0.6.
pub(super) const WEIGHT: f64 = 0.2;

/// Mean and standard deviation of NIH's ages, in years.
const AGE: (f32, f32) = (48.0, 17.0);

/// The summed loss of the head's outputs `[batch, 3]` for these radiographs: half the squared error
/// of the age in standard deviations, and the mean cross-entropy of sex and view. What is not known
/// counts nothing.
pub(super) fn loss(outputs: &Tensor, abouts: &[About]) -> Result<Tensor, TrainError> {
    let (mut targets, mut known) = (Vec::new(), Vec::new());
    for about in abouts {
        let age = about.age.map(|years| (years - AGE.0) / AGE.1);
        let flag = |flag: Option<bool>| flag.map(|flag| f32::from(u8::from(flag)));
        for target in [age, flag(about.male), flag(about.posteroanterior)] {
            targets.push(target.unwrap_or_default());
            known.push(if target.is_some() { 0.5_f32 } else { 0.0 });
        }
    }
    let targets = Tensor::from_vec(targets, outputs.shape(), &Device::Cpu)?;
    let known = Tensor::from_vec(known, outputs.shape(), &Device::Cpu)?;
    let age = (outputs.narrow(1, 0, 1)? - targets.narrow(1, 0, 1)?)?.sqr()?;
    let flags = binary_cross_entropy(&outputs.narrow(1, 1, 2)?, &targets.narrow(1, 1, 2)?)?;
    Ok((Tensor::cat(&[age, flags], 1)? * known)?.sum_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(outputs: [f32; 3], about: About) -> f32 {
        let outputs = Tensor::new(&[outputs, [5.0, 5.0, 5.0]], &Device::Cpu).unwrap();
        loss(&outputs, &[about, About::default()]).unwrap().to_scalar::<f32>().unwrap()
    }

    fn near(a: f32, b: f32) {
        assert!((a - b).abs() < 1e-5, "{a} instead of {b}");
    }

    #[test]
    fn each_lesson_counts_half_and_what_is_not_known_nothing() {
        let unknown = About::default();
        near(of([1.0, 2.0, 3.0], unknown), 0.0);
        // Three standard deviations beside the age of 65.
        near(of([-2.0, 0.0, 0.0], About { age: Some(65.0), ..unknown }), 0.5 * 9.0);
        let half = 0.5 * (-3.0_f32).exp().ln_1p();
        near(of([0.0, 3.0, 0.0], About { male: Some(true), ..unknown }), half);
        near(of([0.0, 0.0, 3.0], About { posteroanterior: Some(true), ..unknown }), half);
        near(of([0.0, 0.0, 3.0], About { posteroanterior: Some(false), ..unknown }), half + 1.5);
    }
}
