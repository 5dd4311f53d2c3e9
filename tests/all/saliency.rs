//! Where the model looked: exact shares, and what happens to a score when its peak is hidden.

use std::path::PathBuf;

use thorascribe::model::{ABNORMAL, ImageFeatures, Model, Region, Saliency};
use thorascribe::radiograph::{GreyImage, open_picture};

use super::support::node::program;
use super::support::objects::root;

fn sample() -> Vec<(PathBuf, GreyImage)> {
    let entries = std::fs::read_dir(root().join("fixtures/nih/images")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), open_picture(&path).unwrap())).collect()
}

fn score(features: &ImageFeatures, label: &str) -> f32 {
    let map = features.saliency().iter().find(|map| map.label == label);
    map.expect("the label is scored").score
}

fn logit(probability: f32) -> f32 {
    (probability / (1.0 - probability)).ln()
}

/// The image without a square of three patches around a place: the mean grey stands there.
fn hidden(image: &GreyImage, place: Region) -> GreyImage {
    let mean = image.pixels().iter().map(|grey| u64::from(*grey)).sum::<u64>()
        / image.pixels().len() as u64;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let margin = (place.right - place.left, place.bottom - place.top);
    let columns = range(place.left - margin.0, place.right + margin.0, width);
    let rows = range(place.top - margin.1, place.bottom + margin.1, height);
    let mut pixels = image.pixels().to_vec();
    for row in rows {
        pixels[row * width..][columns.clone()].fill(mean as u8);
    }
    GreyImage::new(image.width(), image.height(), pixels).unwrap()
}

fn range(from: f64, to: f64, length: usize) -> std::ops::Range<usize> {
    let place = |part: f64| (part.clamp(0.0, 1.0) * length as f64).round() as usize;
    place(from)..place(to)
}

#[test]
fn the_shares_of_the_patches_add_up_to_the_score() {
    let model = Model::embedded().unwrap();
    let (_, image) = sample().remove(0);
    let features = model.encode(&image).unwrap();
    let maps = features.saliency();
    assert_eq!(maps.len(), features.scores().len() + 1, "a map a score, and one of \"abnormal\"");
    assert_eq!(Some(score(&features, ABNORMAL)), features.abnormal());
    for map in maps {
        assert_eq!((map.side(), map.shares().len()), (8, 64));
        let mean = map.shares().iter().sum::<f32>() / 64.0;
        assert!((mean - logit(map.score)).abs() < 1e-3, "{}: {mean}, {}", map.label, map.score);
    }
}

#[test]
fn a_score_falls_when_its_peak_is_hidden_and_more_than_when_another_place_is() {
    let model = Model::embedded().unwrap();
    let (mut falls, mut more, mut total) = (0, 0, 0);
    let (mut by_peak, mut by_lowest) = (0.0, 0.0);
    let (mut sideward, mut by_side, mut by_mirrored) = (0, 0.0, 0.0);
    for (_, image) in sample().into_iter().step_by(2) {
        let features = model.encode(&image).unwrap();
        let positive = |map: &&Saliency| map.label != ABNORMAL && map.score >= 0.2;
        for map in features.saliency().iter().filter(positive) {
            let without = |place| {
                let features = model.encode(&hidden(&image, place)).unwrap();
                logit(map.score) - logit(score(&features, &map.label))
            };
            let (peak, lowest) = (without(map.peak()), without(map.lowest()));
            total += 1;
            falls += usize::from(peak > 0.0);
            more += usize::from(peak > lowest);
            by_peak += peak;
            by_lowest += lowest;
            let place = map.peak();
            // What is hidden around one nearer to the middle meets its mirror image.
            if (place.middle().0 - 0.5).abs() > 0.15 {
                let mirrored = Region { left: 1.0 - place.right, right: 1.0 - place.left, ..place };
                sideward += 1;
                by_side += peak;
                by_mirrored += without(mirrored);
            }
        }
    }
    let (by_peak, by_lowest) = (by_peak / total as f32, by_lowest / total as f32);
    assert!(total >= 40, "{total} scores");
    assert!(falls * 5 >= total * 4, "{falls} of {total} fall");
    assert!(more * 6 >= total * 5, "{more} of {total} fall more than elsewhere");
    // Left is left: the peak's own side counts for more.
    assert!(sideward >= 8, "{sideward} peaks at a side");
    assert!(by_side > 1.5 * by_mirrored, "{by_side} at the peaks, {by_mirrored} mirrored");
    assert!(by_peak > 0.3 && by_lowest < 0.1, "logits fall by {by_peak}, elsewhere {by_lowest}");
}

#[test]
fn places_are_those_of_the_image_and_not_of_the_square_around_it() {
    let model = Model::embedded().unwrap();
    let (_, image) = sample().remove(3);
    // Black above and below, as the square around the middle part has it.
    let middle = image.pixels()[64 * 256..192 * 256].to_vec();
    let mut square = vec![0; 256 * 256];
    square[64 * 256..192 * 256].copy_from_slice(&middle);
    let features = |width, height, pixels| {
        model.encode(&GreyImage::new(width, height, pixels).unwrap()).unwrap()
    };
    let (square, wide) = (features(256, 256, square), features(256, 128, middle));
    for (in_square, in_wide) in square.saliency().iter().zip(wide.saliency()) {
        assert_eq!(in_square.shares(), in_wide.shares());
        for (x, y) in [(0.1, 0.2), (0.5, 0.5), (0.9, 0.7)] {
            let same = in_square.at(x, 0.25 + y / 2.0);
            assert!((in_wide.at(x, y) - same).abs() < 1e-6, "{}", in_wide.label);
        }
        let peak = in_wide.peak();
        let (x, y) = peak.middle();
        assert!((0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y), "{peak:?}");
        assert!((in_wide.heat()(x, y) - 1.0).abs() < 1e-5, "{}", in_wide.label);
    }
}

#[test]
fn a_draft_shows_its_strongest_finding() {
    let model = Model::embedded().unwrap();
    let thresholds = &model.manifest().scores.as_ref().unwrap().thresholds;
    let mut found = 0;
    for (path, image) in sample().into_iter().take(12) {
        let features = model.encode(&image).unwrap();
        let draft = model.draft_from(&features, &thorascribe::model::DraftRequest::default());
        let looked = draft.unwrap().looked.unwrap();
        let above = |label: &str, score: f32| score / thresholds[label];
        let best = features.scores().iter().map(|(label, score)| above(label, *score));
        let best = best.fold(f32::MIN, f32::max);
        if best >= 1.0 {
            let shown = above(&looked.label, looked.score);
            assert!((shown - best).abs() < 1e-6, "{}: {shown}", path.display());
            found += 1;
        } else {
            assert_eq!(looked.label, ABNORMAL, "{}", path.display());
        }
    }
    assert!(found >= 3, "{found}");
}

/// What `evaluate boxes` says of the first images of the sample with these boxes.
fn pointed(boxes: &[&str]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.csv");
    let mut table = csv::Writer::from_path(&labels).unwrap();
    table.write_record(["image", "Mass", "Infiltration", "boxes"]).unwrap();
    for ((path, _), boxes) in sample().iter().zip(boxes) {
        let name = path.file_name().unwrap().to_str().unwrap();
        table.write_record([name, "1", "1", boxes]).unwrap();
    }
    table.flush().unwrap();
    let images = root().join("fixtures/nih/images");
    let mut command = program(folder.path());
    command.args(["evaluate", "boxes", "--json", "--images"]).arg(images);
    command.arg("--labels").arg(labels).output().unwrap()
}

#[test]
fn a_box_around_all_is_hit_and_one_in_a_corner_is_not() {
    let output = pointed(&[
        r#"[["Mass", [0, 0, 256, 256]], ["Infiltrate", [0, 0, 1, 1]]]"#,
        "",
        r#"[["Mass", [0, 0, 1, 1]], ["Mass", [0, 0, 256, 256]], ["Fracture", [0, 0, 9, 9]]]"#,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |finding: &str| figures["findings"][finding].clone();
    let (mass, infiltration) = (of("mass"), of("infiltration"));
    assert_eq!((&mass["cases"], &mass["hits"]), (&2.into(), &2.into()));
    assert_eq!((&mass["rate"], &mass["chance"]), (&1.0.into(), &1.0.into()));
    assert_eq!((&infiltration["cases"], &infiltration["hits"]), (&1.into(), &0.into()));
    assert_eq!(infiltration["usual_place"], serde_json::Value::Null);
    assert_eq!(figures["all"]["cases"], 3, "a finding that is not scored is no case");
    assert_eq!(figures["images"], 2);
}

#[test]
fn boxes_that_are_none_are_an_error() {
    for wrong in [
        "[0, 0, 1, 1]",
        r#"[["Mess", [0, 0, 1, 1]]]"#,
        r#"[["Mass", [9, 9, -5, 5]]]"#,
        r#"[["Mass", [9, 9, 5, 0]]]"#,
    ] {
        let output = pointed(&[wrong]);
        assert_eq!(output.status.code(), Some(1), "{wrong}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("column boxes"), "{error}");
        assert_eq!(error.contains("Mess"), error.contains("pleural_effusion"), "{error}");
    }
}
