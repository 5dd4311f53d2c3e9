//! `demo`: the whole way without any other program.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::support::dcmtk::dsrdump;
use super::support::node::program;
use super::support::orthanc::standard_errors;
use super::support::process::succeed;

#[test]
fn demo_drafts_a_report_of_each_radiograph_that_travels_with_the_program() {
    let home = TempDir::new().unwrap();
    let out = home.path().join("shown");
    let stdout = succeed(program(home.path()).args(["demo", "--json", "--out"]).arg(&out));
    let shown: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(shown.len() >= 3, "{stdout}");
    let mut drafted = 0;
    for study in &shown {
        assert!(Path::new(study["image"].as_str().unwrap()).is_file(), "{study:#}");
        assert!(["stat", "urgent", "routine"].iter().any(|p| study["priority"] == *p), "{study:#}");
        let Some(text) = study["text"].as_str() else { continue };
        drafted += 1;
        assert!(text.split_whitespace().count() > 5, "{study:#}");
        for stage in ["receive", "read", "encode", "prefill", "decode", "deliver"] {
            let seconds = study["seconds"][stage].as_f64();
            assert!(seconds.is_some_and(|seconds| seconds >= 0.0), "{stage}: {study:#}");
        }
        let report = Path::new(study["sr"].as_str().unwrap());
        assert!(report.starts_with(&out), "{study:#}");
        assert_eq!(standard_errors(report), Vec::<String>::new());
        // Long lines are folded in the dump: the first words suffice.
        let words: Vec<&str> = text.split_whitespace().take(3).collect();
        let dump = dsrdump(report);
        assert!(dump.contains(&words.join(" ")), "{words:?} is not in\n{dump}");
    }
    assert!(drafted >= 3, "{stdout}");
    let texts: std::collections::BTreeSet<_> =
        shown.iter().filter_map(|study| study["text"].as_str()).collect();
    assert!(texts.len() > 1, "every study has one text: {texts:?}");
}
