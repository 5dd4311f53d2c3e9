//! The model card of an assembled model: what it is made from, how good it is, what it cannot do.

use super::assess::Assessment;
use super::encoder::{EncoderCard, FromRelease};
use super::label::ABNORMAL;
use super::language::LanguageCard;
use super::provenance::{FirstWeights, Material};
use super::run::Plan;
use crate::model::Manifest;

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
    /// The radiographs that it was aligned on.
    pub material: Material,
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
         drafts one paragraph about a frontal chest radiograph. {purpose} is weak, and nothing it \
         writes is a diagnosis.**\n\n\
         ## What it is\n\n\
         - Image encoder: {vision}; on its mean over patches a linear head scores fourteen findings and \"abnormal\".\n\
         - Alignment: one linear layer from the encoder's embedding (what those scores see before \
         their bias) to {tokens} image tokens.\n\
         - Language model: LLaMA, {layers} blocks of width {hidden}, {pieces} pieces, trained on \
         summaries that a grammar of this project writes from label sets.\n\
         - The text says what the scores say at the thresholds in `manifest.toml`; those were \
         chosen for F1 on patients kept back, so they call more than is there.\n\n\
         ## Data and terms\n\n\
         {material}\
         {release}\
         - No report of a patient was used.\n\
         - Licence of the weights: {licence}.\n\n\
         ## How good it is\n\n\
         Area under the ROC curve; in brackets the positives. A finding with fewer than ten \
         positives says little.\n\n",
        name = manifest.name,
        purpose = if facts.material.is_nih_with(facts.encoder) {
            "It is here so that a fresh installation drafts something real; **it"
        } else {
            "**It"
        },
        material = material(facts),
        release = facts.encoder.release.map(of_release).unwrap_or_default(),
        tokens = manifest.projection.tokens,
        layers = llama.num_hidden_layers,
        hidden = llama.hidden_size,
        pieces = llama.vocab_size,
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

/// The radiographs, and what the encoder began with.
fn material(facts: &Facts<'_>) -> String {
    let size = facts.manifest.image_encoder.image_size();
    let mut out = format!("- {}\n", facts.material.in_words(size));
    match &facts.encoder.material {
        Some(own) if *own == facts.material => {}
        Some(own) => {
            let line = format!("- The encoder was trained on others: {}\n", own.in_words(size));
            out.push_str(&line);
        }
        None => out.push_str("- What the encoder was trained on is not recorded.\n"),
    }
    let first = facts.encoder.first.as_ref().map(FirstWeights::in_words);
    let unknown = || "What the encoder began with is not recorded.".to_owned();
    out + &format!("- {}\n", first.unwrap_or_else(unknown))
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
        "\n`development` chose the thresholds, so its figures are too good.{tests}\n\n\
         ## What it cannot do\n\n\
         - It knows fourteen findings and nothing else: no bones, no devices, no side, no extent, no \
         comparison with an earlier study.\n\
         - It misses much of what is small (nodule, mass) at {size} × {size} pixels.\n\
         - {shown}\n\
         - It tells a lateral and a child (under {youngest}) only by what the object says of view and \
         age; {unlike}\n\n\
         ## How to make it again\n\n\
         `docs/TRAINING.md` has the commands. Encoder: {encoder}. Language model: {language}. \
         Alignment: seed {seed}, batch {batch}, peak rate {rate}.\n",
        tests = if facts.assessments.len() > 1 {
            " `test` is the one to quote for abnormal against normal, `findings_test` for each finding; \
             both were scored once, for this card."
        } else {
            " No other radiographs were scored for this card."
        },
        shown = if facts.material.is_nih_with(facts.encoder) {
            "It was trained on adults, from one institution; portable radiographs are over-represented \
             among the sick, and it may go by that."
        } else {
            "Whom its radiographs show and how they were picked is not recorded, and it may go by what \
             sets the sick among them apart."
        },
        unlike = if facts.manifest.scope.as_ref().is_some_and(|scope| scope.images.is_some()) {
            "of an image unlike its training's it says that it is not made for it, but a child's chest, \
             an inverted or a turned one mostly passes for one of them."
        } else {
            "an image unlike its training's it does not tell, since too few radiographs were kept back \
             to learn how."
        },
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
