//! `thorascribe evaluate findings`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{figure, output};
use crate::cli::Outcome;
use crate::findings::labelled::{self, Case};
use crate::findings::{self, Agreement, State};
use crate::vocabulary::Observation;

/// What may be asked of `evaluate findings`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Labelled texts, a JSON object a line: {"text": "...", "findings": {"edema": "positive right
    /// mild"}}.
    #[arg(long, value_name = "FILE")]
    labelled: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was counted.
#[derive(Debug, Default)]
struct Measured {
    texts: usize,
    agreement: Agreement,
    /// Of the positive findings that were found, those of the right side and severity.
    sides: Part,
    severities: Part,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    right: usize,
    of: usize,
}

impl Part {
    fn count(&mut self, right: bool) {
        self.of += 1;
        self.right += usize::from(right);
    }

    fn fraction(self) -> Option<f64> {
        (self.of > 0).then(|| self.right as f64 / self.of as f64)
    }
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let path = &arguments.labelled;
    let measured = measure(&read(path)?);
    output(arguments.json, || as_json(&measured), |out| table(out, &measured))
}

fn read(path: &Path) -> anyhow::Result<Vec<Case>> {
    let named = || path.display().to_string();
    labelled::parse(&std::fs::read_to_string(path).with_context(named)?).with_context(named)
}

fn measure(cases: &[Case]) -> Measured {
    let mut measured = Measured { texts: cases.len(), ..Measured::default() };
    for case in cases {
        let found = findings::label(&case.text);
        case.compare(&found, &mut measured.agreement);
        for (observation, label) in &case.expected {
            let Some(finding) = found.get(*observation) else { continue };
            if label.state == State::Positive && finding.state == State::Positive {
                measured.sides.count(finding.laterality == label.laterality);
                measured.severities.count(finding.severity == label.severity);
            }
        }
    }
    measured
}

fn as_json(measured: &Measured) -> Value {
    let agreement = &measured.agreement;
    let mut observations = Map::new();
    for observation in Observation::ALL {
        let mut states = Map::new();
        for state in State::ALL {
            states.insert(state.name().to_owned(), json!(agreement.of(observation, state)));
        }
        states.insert("all".to_owned(), json!(agreement.of_observation(observation)));
        observations.insert(observation.name().to_owned(), states.into());
    }
    json!({
        "texts": measured.texts,
        "micro": agreement.micro(),
        "macro_f1": agreement.macro_f1(),
        "laterality": measured.sides.fraction(),
        "severity": measured.severities.fraction(),
        "observations": observations,
    })
}

fn table(out: &mut dyn Write, measured: &Measured) -> std::io::Result<()> {
    let agreement = &measured.agreement;
    write!(out, "{:<27}", "")?;
    for state in State::ALL {
        write!(out, "  {:<23}", state.name())?;
    }
    writeln!(out, "  all")?;
    write!(out, "{:<27}", "observation")?;
    for _ in State::ALL {
        write!(out, "  {:>5} {:>5} {:>5} {:>5}", "P", "R", "F1", "n")?;
    }
    writeln!(out, "  {:>5}", "F1")?;
    for observation in Observation::ALL {
        write!(out, "{:<27}", observation.name())?;
        for state in State::ALL {
            match agreement.of(observation, state) {
                Some(r) => write!(
                    out,
                    "  {:>5.3} {:>5.3} {:>5.3} {:>5}",
                    r.precision, r.recall, r.f1, r.expected
                )?,
                None => write!(out, "  {:>5} {:>5} {:>5} {:>5}", "-", "-", "-", 0)?,
            }
        }
        let all = agreement.of_observation(observation);
        writeln!(out, "  {:>5}", figure(all.map(|rates| rates.f1)))?;
    }
    writeln!(out)?;
    for state in State::ALL {
        let f1 = agreement.of_state(state).map(|rates| rates.f1);
        writeln!(out, "{:<27}  {}", format!("micro-F1, {}", state.name()), figure(f1))?;
    }
    let micro = agreement.micro().map(|rates| rates.f1);
    writeln!(out, "{:<27}  {}", "micro-F1, all states", figure(micro))?;
    writeln!(out, "{:<27}  {}", "macro-F1", figure(agreement.macro_f1()))?;
    writeln!(out, "{:<27}  {}", "side right", figure(measured.sides.fraction()))?;
    writeln!(out, "{:<27}  {}", "severity right", figure(measured.severities.fraction()))?;
    writeln!(out, "{:<27}  {}", "texts", measured.texts)
}
