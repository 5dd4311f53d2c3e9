//! `thorascribe draft`: files to texts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Outcome;
use super::asking::Asking;
use super::criteria::Criteria;
use super::outputs::Outputs;
use crate::model::{DraftRequest, Model, ModelDraft, PromptChoice};
use crate::object::StoredObject;
use crate::observe::chain;
use crate::radiograph::{GreyImage, open_picture, render};
use crate::report::sr::{self, SrClass};
use crate::report::{CodedFinding, Created, Draft, Evidence, ModelIdentity, NodeIdentity};
use crate::vocabulary::{PatientText, Priority, hexadecimal};

/// What may be asked of `draft`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Radiographs: DICOM, PNG or JPEG.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The question: a text, or the number of one of the model's own.
    #[arg(long, value_name = "TEXT|N")]
    prompt: Option<String>,
    #[command(flatten)]
    asking: Asking,
    /// Write the report too (Enhanced SR): a file, or with several FILEs a folder.
    #[arg(long, value_name = "OUT")]
    sr: Option<PathBuf>,
    /// One JSON object a line and a file.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let config = super::config::of_user(config)?;
    let model = arguments.asking.open(&config)?;
    let prompt = match &arguments.prompt {
        Some(text) => PromptChoice::parse(text),
        None => (&config.model.prompt).into(),
    };
    let request = DraftRequest {
        prompt,
        template: arguments.asking.template.clone(),
        sampling: arguments.asking.sampling(&config),
        ask_findings: config.model.ask_findings,
    };
    let mut outputs = Outputs::of(&arguments.files);
    let reports = Reports::new(arguments, &outputs)?;
    if let Some(warning) = arguments.asking.warning(&request.prompt, &model, &config) {
        writeln!(std::io::stderr(), "warning: {warning}")?;
    }
    let drafter = Drafter {
        // Asking for a draft says that it is a chest when the object does not.
        criteria: Criteria::of(&config, &model, true),
        model,
        request,
        node: NodeIdentity::new(&config.node.ae_title),
        reports,
    };
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for file in &arguments.files {
        let result = drafter.draft(file, &mut outputs);
        if result.is_err() {
            code = ExitCode::FAILURE;
        }
        if arguments.json {
            let line = match result {
                Ok(drafted) => drafted.json(file, &drafter.model),
                Err(error) => json!({"file": file, "error": chain(error.as_ref())}),
            };
            writeln!(out, "{line}")?;
        } else {
            match result {
                Ok(drafted) => drafted.print(&mut out, file, &drafter.model)?,
                Err(error) => writeln!(std::io::stderr(), "error: {}", of_file(file, &error))?,
            }
        }
        out.flush()?;
    }
    Ok(code)
}

/// An error with its causes, and the file where they do not name it.
fn of_file(file: &Path, error: &anyhow::Error) -> String {
    let (text, file) = (chain(error.as_ref()), file.display().to_string());
    if text.contains(&file) { text } else { format!("{file}: {text}") }
}

/// Everything that is the same for all files.
struct Drafter {
    criteria: Criteria,
    model: Model,
    request: DraftRequest,
    node: NodeIdentity,
    reports: Reports,
}

/// One file's draft and how long reading it took.
struct Drafted {
    draft: ModelDraft,
    read: f64,
    report: Option<PathBuf>,
}

/// Where reports go.
enum Reports {
    Nowhere,
    File(PathBuf),
    Folder(PathBuf),
}

impl Reports {
    fn new(arguments: &Arguments, outputs: &Outputs) -> anyhow::Result<Self> {
        let Some(out) = &arguments.sr else { return Ok(Self::Nowhere) };
        if arguments.files.len() == 1 && !out.is_dir() {
            if outputs.is_input(out) {
                bail!(
                    "--sr {} is the radiograph itself: give the report another file",
                    out.display()
                );
            }
            return Ok(Self::File(out.clone()));
        }
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        Ok(Self::Folder(out.clone()))
    }

    /// The report's place for one file: files of one name in several folders overwrite nothing.
    fn place(&self, file: &Path, outputs: &mut Outputs) -> Option<PathBuf> {
        match self {
            Self::Nowhere => None,
            Self::File(path) => Some(path.clone()),
            Self::Folder(folder) => {
                Some(outputs.place(folder, file.file_stem().unwrap_or_default(), "-sr.dcm"))
            }
        }
    }
}

/// A file's image, and its object when it is one.
struct Source {
    image: GreyImage,
    object: Option<StoredObject>,
}

impl Source {
    /// Reads a picture, or renders a DICOM object that meets the criteria.
    fn open(file: &Path, criteria: &Criteria) -> anyhow::Result<Self> {
        if !is_dicom(file)? {
            return Ok(Self { image: open_picture(file)?, object: None });
        }
        let object = StoredObject::open(file)?;
        if let Err(reason) = criteria.judge(&object) {
            bail!("not drafted from: {reason}");
        }
        Ok(Self { image: render(&object)?.image, object: Some(object) })
    }
}

/// Whether the file has the mark of a DICOM file (PS3.10 §7.1).
fn is_dicom(file: &Path) -> anyhow::Result<bool> {
    use std::io::Read;
    let mut start = Vec::new();
    let opened = fs::File::open(file).and_then(|f| f.take(132).read_to_end(&mut start));
    opened.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(start.ends_with(b"DICM") && start.len() == 132)
}

/// Reads a picture, or renders a DICOM object.
pub(super) fn read_image(file: &Path) -> anyhow::Result<GreyImage> {
    Ok(Source::open(file, &Criteria::any())?.image)
}

impl Drafter {
    fn draft(&self, file: &Path, outputs: &mut Outputs) -> anyhow::Result<Drafted> {
        let start = Instant::now();
        let source = Source::open(file, &self.criteria)?;
        let read = start.elapsed().as_secs_f64();
        let draft = self.model.draft(&source.image, &self.request)?;
        let report = self.reports.place(file, outputs);
        if let Some(place) = &report {
            let Some(object) = &source.object else {
                bail!(
                    "--sr needs a DICOM object: a report names the study and image it belongs to"
                );
            };
            let bytes = self.report(file, object, &draft)?;
            fs::write(place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
        }
        Ok(Drafted { draft, read, report })
    }

    /// The report of one draft as a DICOM file.
    fn report(
        &self,
        file: &Path,
        object: &StoredObject,
        answer: &ModelDraft,
    ) -> anyhow::Result<Vec<u8>> {
        let bytes = fs::read(file)?;
        let offset = usize::try_from(object.data_set_offset())?;
        let data_set = bytes.get(offset..).unwrap_or_default();
        let evidence = Evidence {
            sop_class: object.sop_class_uid().clone(),
            instance: object.instance_uid().clone(),
            series: object.series_uid().clone(),
            digest: hexadecimal(&Sha256::digest(data_set)),
        };
        let found = answer.assessed(&self.model.thresholds());
        let draft = Draft {
            text: PatientText::new(answer.text.clone()),
            model: ModelIdentity {
                name: self.model.name().to_owned(),
                digest: self.model.digest().to_owned(),
            },
            prompt: answer.prompt.clone(),
            sampling: self.request.sampling.to_string(),
            version: 1,
            created: Created::now(),
            predecessors: vec![],
            findings: found.iter().filter_map(CodedFinding::of).collect(),
            priority: Priority::Routine,
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            verification: None,
        };
        Ok(sr::build(SrClass::Enhanced, object, &[evidence], &draft, &self.node)?.bytes)
    }
}

impl Drafted {
    fn json(&self, file: &Path, model: &Model) -> serde_json::Value {
        let draft = &self.draft;
        let findings = draft.assessed(&model.thresholds());
        let scores: BTreeMap<_, _> = draft.scores.iter().cloned().collect();
        let mut seconds = draft.seconds.by_step();
        seconds.insert("read".to_owned(), self.read.into());
        json!({
            "file": file,
            "model": {"name": model.name(), "digest": model.digest()},
            "prompt": draft.prompt,
            "text": draft.text,
            "token_ids": draft.token_ids,
            "abnormal": draft.abnormal,
            "findings": findings,
            "scores": scores,
            "sr": self.report,
            "seconds": seconds,
        })
    }

    fn print(&self, out: &mut impl Write, file: &Path, model: &Model) -> std::io::Result<()> {
        writeln!(out, "{}", file.display())?;
        writeln!(out, "{}", self.draft.text)?;
        if let Some(abnormal) = self.draft.abnormal {
            writeln!(out, "abnormal: {:.0}%", abnormal * 100.0)?;
        }
        if let Some(report) = &self.report {
            writeln!(out, "report: {}", report.display())?;
        }
        writeln!(out, "(draft by {}, not verified)\n", model.name())
    }
}
