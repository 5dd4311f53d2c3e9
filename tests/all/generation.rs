//! Answers in a batch, and how tokens are chosen.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};

use thorascribe::model::checkpoint::manifest::ImageTokens;
use thorascribe::model::engine::{Engine, EngineHandle, EngineLimits};
use thorascribe::model::language::cache::Cache;
use thorascribe::model::language::llama::Segment;
use thorascribe::model::prompt::{PromptTokens, template};
use thorascribe::model::{
    DraftRequest, Ended, ImageFeatures, Model, ModelDraft, ModelError, PromptChoice, Sampling,
    Watch,
};
use thorascribe::radiograph::{GreyImage, open_picture};

use super::model::{changed, imported, reference};
use super::support::objects::root;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::open(imported(ImageTokens::Patches)).unwrap())
}

fn features() -> &'static ImageFeatures {
    static FEATURES: OnceLock<ImageFeatures> = OnceLock::new();
    FEATURES.get_or_init(|| model().encode(&image(0)).unwrap())
}

fn image(number: usize) -> GreyImage {
    let file = [reference(), root().join("fixtures/reference/small")][number % 2].join("image.png");
    open_picture(&file).unwrap()
}

async fn engine(slots: usize) -> EngineHandle {
    let limits = EngineLimits { slots, waiting: 2 };
    Engine::start_with(limits, || Model::open(imported(ImageTokens::Patches))).await.unwrap()
}

fn asked(prompt: PromptChoice, sampling: Sampling) -> DraftRequest {
    DraftRequest { prompt, sampling, ..DraftRequest::default() }
}

/// Requests of different prompts, lengths, templates and searches.
fn requests() -> Vec<DraftRequest> {
    let lengths = [31, 3, 17, 9, 1, 24, 12, 5, 20];
    let requests = lengths.iter().enumerate().map(|(i, length)| {
        let prompt = match i % 3 {
            0 => PromptChoice::Number(1 + i / 3),
            1 => PromptChoice::Text("Normal?".to_owned()),
            _ => PromptChoice::Text("Where is the tube, and how far does it reach? ".repeat(i)),
        };
        let sampling = Sampling { max_tokens: *length, ..Sampling::default() };
        asked(prompt, sampling)
    });
    let mut requests = requests.collect::<Vec<_>>();
    requests[1].template = Some("human-assistant".to_owned());
    requests[5].sampling.beams = 3;
    requests[6].sampling =
        Sampling { temperature: 0.8, top_p: 0.9, seed: 7, max_tokens: 12, ..Sampling::default() };
    requests[8].sampling.repetition_penalty = 1.3;
    requests
}

/// Stops a draft at its third piece of text until it is let go.
struct Hold {
    reached: mpsc::Receiver<()>,
    go: mpsc::Sender<()>,
    pieces: Arc<Mutex<usize>>,
}

fn hold() -> (Hold, Watch) {
    let (reaching, reached) = mpsc::channel();
    let (go, going) = mpsc::channel::<()>();
    let pieces = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&pieces);
    let watch = Box::new(move |_: &str| {
        let mut pieces = counted.lock().unwrap();
        *pieces += 1;
        if *pieces == 3 {
            drop(pieces);
            reaching.send(()).unwrap();
            going.recv().unwrap();
        }
    });
    (Hold { reached, go, pieces }, watch)
}

async fn wait(reached: mpsc::Receiver<()>) {
    tokio::task::spawn_blocking(move || reached.recv().unwrap()).await.unwrap();
}

fn long() -> DraftRequest {
    let sampling = Sampling { min_tokens: 60, max_tokens: 60, ..Sampling::default() };
    asked(PromptChoice::Number(2), sampling)
}

fn assert_same(batched: &ModelDraft, alone: &ModelDraft, which: usize) {
    assert_eq!(batched.token_ids, alone.token_ids, "request {which}");
    assert_eq!((&batched.text, batched.ended), (&alone.text, alone.ended));
    assert_eq!(batched.log_probabilities.len(), batched.token_ids.len());
    for (a, b) in batched.log_probabilities.iter().zip(&alone.log_probabilities) {
        assert!((a - b).abs() < 1e-3, "request {which}: log-probability {a} for {b}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_in_a_batch_equal_drafts_alone() {
    let requests = requests();
    let alone = requests.iter().enumerate().map(|(i, r)| model().draft(&image(i), r).unwrap());
    let alone = alone.collect::<Vec<_>>();
    for slots in [1, 4, 16] {
        let engine = engine(slots).await;
        // The others come when one is under way, and wait for a slot or join it.
        let (Hold { reached, go, .. }, watch) = hold();
        let first = tokio::spawn({
            let engine = engine.clone();
            async move { engine.watched(image(0), long(), watch).await }
        });
        wait(reached).await;
        let mut waiting = tokio::task::JoinSet::new();
        for (i, request) in requests.iter().cloned().enumerate() {
            let engine = engine.clone();
            waiting.spawn(async move { (i, engine.draft(image(i), request).await) });
        }
        go.send(()).unwrap();
        while let Some(done) = waiting.join_next().await {
            let (i, draft) = done.unwrap();
            assert_same(&draft.unwrap(), &alone[i], i);
        }
        let first = first.await.unwrap().unwrap();
        assert_same(&first, &model().draft(&image(0), &long()).unwrap(), 99);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_nobody_waits_for_frees_its_slot_at_the_next_step() {
    let engine = engine(1).await;
    let (Hold { reached, go, pieces }, watch) = hold();
    let given_up = tokio::spawn({
        let engine = engine.clone();
        async move { engine.watched(image(0), long(), watch).await }
    });
    wait(reached).await;
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    let request = &requests()[3];
    let next = engine.draft(image(1), request.clone()).await.unwrap();
    assert_same(&next, &model().draft(&image(1), request).unwrap(), 3);
    // At most the step under way went on.
    let pieces = *pieces.lock().unwrap();
    assert!(pieces <= 4, "{pieces} pieces");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_one_draft_fails_that_draft_alone() {
    let engine = engine(4).await;
    let (Hold { reached, go, .. }, watch) = hold();
    let other = tokio::spawn({
        let engine = engine.clone();
        async move { engine.watched(image(0), long(), watch).await }
    });
    wait(reached).await;
    let mut pieces = 0;
    let broken = Box::new(move |_: &str| {
        pieces += 1;
        assert!(pieces < 3, "too much to read");
    });
    let broken = tokio::spawn({
        let engine = engine.clone();
        async move { engine.watched(image(1), long(), broken).await }
    });
    go.send(()).unwrap();
    let error = broken.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("too much to read"), "{error}");
    let other = other.await.unwrap().unwrap();
    assert_same(&other, &model().draft(&image(0), &long()).unwrap(), 0);
    assert!(engine.is_ready());
    let request = asked(PromptChoice::Number(99), Sampling::default());
    assert!(matches!(engine.draft(image(0), request).await, Err(ModelError::Prompt { .. })));
    assert!(engine.draft(image(0), long()).await.is_ok());
}

/// The logits after each of `ids` when they follow the first prompt, the prompt's own first.
fn logits(ids: &[u32]) -> Vec<Vec<f32>> {
    logits_after(&model().prompts()[0], ids)
}

fn logits_after(question: &str, ids: &[u32]) -> Vec<Vec<f32>> {
    let manifest = model().manifest();
    let template = template(manifest, None).unwrap();
    let prompt = PromptTokens::new(manifest, model().tokenizer(), &template, question).unwrap();
    let mut rows = Vec::new();
    model()
        .generate(&prompt, features().image_tokens(), ids.len() + 1, |row| {
            rows.push(row.to_vec1::<f32>().unwrap());
            Ok(ids.get(rows.len() - 1).copied())
        })
        .unwrap();
    rows
}

fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let sum = logits.iter().map(|l| f64::from(*l).exp()).sum::<f64>();
    logits.iter().map(|l| f64::from(*l) - sum.ln()).collect()
}

fn draft(sampling: Sampling) -> ModelDraft {
    model().draft_from(features(), &asked(PromptChoice::Number(1), sampling)).unwrap()
}

#[test]
fn log_probabilities_are_the_model_s_own() {
    let warm = Sampling {
        temperature: 1.5,
        repetition_penalty: 1.2,
        max_tokens: 15,
        seed: 5,
        ..Sampling::default()
    };
    for sampling in [Sampling { max_tokens: 15, ..Sampling::default() }, warm] {
        let draft = draft(sampling);
        let rows = logits(&draft.token_ids);
        for ((row, id), got) in rows.iter().zip(&draft.token_ids).zip(&draft.log_probabilities) {
            let want = log_probabilities(row)[*id as usize];
            assert!((want - f64::from(*got)).abs() < 1e-3, "{got} for {want}");
        }
    }
}

#[test]
fn top_p_draws_from_the_likeliest_tokens_only() {
    let mut beyond_the_first = 0;
    for seed in 0..6 {
        let top_p = 0.4;
        let warm =
            Sampling { temperature: 1.0, top_p, max_tokens: 12, seed, ..Sampling::default() };
        let draft = draft(warm);
        for (row, id) in logits(&draft.token_ids).iter().zip(&draft.token_ids) {
            let all = log_probabilities(row);
            let own = all[*id as usize];
            let likelier = all.iter().filter(|p| **p > own + 1e-6).map(|p| p.exp()).sum::<f64>();
            assert!(likelier < top_p + 1e-6, "a token after {likelier} of the probability");
            beyond_the_first += usize::from(likelier > 0.0);
        }
    }
    assert!(beyond_the_first > 0, "every token was the likeliest");
}

#[test]
fn an_answer_does_not_end_before_its_shortest() {
    let features = model().encode(&image(0)).unwrap();
    let whole = draft(Sampling { max_tokens: 12, ..Sampling::default() });
    let stop = whole.token_ids[3];
    let model = changed(ImageTokens::Patches, |manifest| {
        manifest.conversation.stop_tokens = vec![vec![stop]];
    });
    let draft = |min_tokens| {
        let sampling = Sampling { min_tokens, max_tokens: 12, ..Sampling::default() };
        model.draft_from(&features, &asked(PromptChoice::Number(1), sampling)).unwrap()
    };
    let short = draft(0);
    assert_eq!(short.ended, Ended::Stop);
    let length = short.token_ids.len();
    assert!(length <= 3, "{:?}", short.token_ids);
    let longer = draft(length + 5);
    assert!(longer.token_ids.len() >= length + 5);
    assert!(longer.token_ids.starts_with(&short.token_ids));
    assert_ne!(longer.token_ids[length], stop);
    let wrong = Sampling { min_tokens: 9, max_tokens: 8, ..Sampling::default() };
    assert!(matches!(wrong.check(), Err(ModelError::Request(_))));
}

#[test]
fn yes_and_no_are_weighed_for_many_questions_at_once() {
    let questions = ["Is there an effusion?", "Pneumothorax?", "Is the heart of normal size?"];
    let questions = questions.repeat(7);
    let together = model().yes_probabilities(features(), &questions, None).unwrap();
    assert_eq!(together.len(), questions.len());
    let encode = |word: &str| model().tokenizer().encode(word).unwrap()[0] as usize;
    let sum = |row: &[f64], words: [&str; 3]| {
        let mut ids = words.map(encode).to_vec();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| row[id].exp()).sum::<f64>()
    };
    for (question, got) in questions.iter().zip(&together) {
        let row = log_probabilities(&logits_after(question, &[])[0]);
        let (yes, no) = (sum(&row, ["Yes", "yes", "YES"]), sum(&row, ["No", "no", "NO"]));
        assert!((yes / (yes + no) - f64::from(*got)).abs() < 1e-4, "{question}: {got}");
    }
    assert!((together[0] - together[1]).abs() > 1e-6);
    assert!(model().yes_probabilities(features(), &[], None).unwrap().is_empty());
    let long = "why ".repeat(3000);
    let long = model().yes_probabilities(features(), &[&long], None);
    assert!(matches!(long, Err(ModelError::Context { .. })));
}

/// A beam search that computes every beam from its start and ends answers as Hugging Face's does:
/// at `stop`, where that stands among the likeliest; over when nothing can beat what has ended.
fn plain_beams(sampling: &Sampling, stop: Option<u32>) -> Vec<u32> {
    let Sampling { beams, length_penalty, max_tokens, min_tokens, .. } = *sampling;
    let score = |sum: f64, length: usize| sum / (length as f64).powf(length_penalty);
    let (mut alive, mut ended) = (vec![(0.0, Vec::<u32>::new())], Vec::new());
    for length in 1..=max_tokens {
        let mut next = Vec::new();
        for (sum, ids) in &alive {
            let rows = logits(ids);
            for (id, p) in log_probabilities(rows.last().unwrap()).into_iter().enumerate() {
                let id = id as u32;
                if Some(id) != stop || length > min_tokens {
                    next.push((sum + p, [ids.as_slice(), &[id]].concat()));
                }
            }
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0));
        alive.clear();
        for (rank, (sum, mut ids)) in next.into_iter().take(2 * beams).enumerate() {
            if ids.last().copied() != stop {
                if alive.len() < beams {
                    alive.push((sum, ids));
                }
            } else if rank < beams {
                ids.pop();
                ended.push((score(sum, length), ids));
            }
        }
        ended.sort_by(|a, b| b.0.total_cmp(&a.0));
        ended.truncate(beams);
        if ended.len() == beams && score(alive[0].0, length) <= ended[beams - 1].0 {
            return ended.swap_remove(0).1;
        }
    }
    ended.extend(alive.into_iter().map(|(sum, ids)| (score(sum, max_tokens), ids)));
    ended.sort_by(|a, b| b.0.total_cmp(&a.0));
    ended.swap_remove(0).1
}

#[test]
fn a_beam_search_finds_what_one_without_a_cache_finds() {
    let mut differs = false;
    for (beams, length) in [(2, 7), (4, 6)] {
        let sampling =
            Sampling { beams, max_tokens: length, min_tokens: length, ..Sampling::default() };
        let found = draft(sampling.clone());
        assert_eq!(found.token_ids, plain_beams(&sampling, None));
        let greedy = draft(Sampling { max_tokens: length, ..Sampling::default() });
        let sum = |draft: &ModelDraft| draft.log_probabilities.iter().sum::<f32>();
        assert!(sum(&found) >= sum(&greedy) - 1e-4);
        differs |= found.token_ids != greedy.token_ids;
    }
    assert!(differs, "beams found nothing but the greedy answer");
    for wrong in [
        Sampling { beams: 0, ..Sampling::default() },
        Sampling { beams: 99, ..Sampling::default() },
        Sampling { beams: 2, temperature: 1.0, ..Sampling::default() },
        Sampling { beams: 2, length_penalty: f64::NAN, ..Sampling::default() },
    ] {
        assert!(matches!(wrong.check(), Err(ModelError::Request(_))));
    }
    let sampling = Sampling { beams: 4, ..Sampling::default() };
    assert_eq!(sampling.to_string(), "4 beams, length penalty 1, at most 300 tokens");
}

#[test]
fn a_beam_search_weighs_answers_that_end_against_those_that_go_on() {
    let search = Sampling { beams: 3, max_tokens: 6, ..Sampling::default() };
    let whole = draft(search.clone()).token_ids;
    let (mut stopped, mut lengths) = (0, BTreeSet::new());
    for at in [0, 2, 4] {
        let model = changed(ImageTokens::Patches, |manifest| {
            manifest.conversation.stop_tokens = vec![vec![whole[at]]];
        });
        for (length_penalty, min_tokens) in [(1.0, 0), (-1.0, 0), (4.0, 0), (1.0, 3)] {
            let sampling = Sampling { length_penalty, min_tokens, ..search.clone() };
            let request = asked(PromptChoice::Number(1), sampling.clone());
            let found = model.draft_from(features(), &request).unwrap();
            let want = plain_beams(&sampling, Some(whole[at]));
            assert_eq!(found.token_ids, want, "stop {at}, {sampling}");
            stopped += usize::from(found.ended == Ended::Stop);
            lengths.insert(found.token_ids.len());
        }
    }
    assert!(stopped > 1 && lengths.len() > 1, "{stopped} ended; lengths {lengths:?}");
}

#[test]
fn a_step_that_fails_leaves_every_answer_as_it_was() {
    let language = &model().chain().language;
    let cache = |capacity| {
        let mut cache = language.cache(capacity).unwrap();
        language.prefill(&language.embed_tokens(&[1, 50, 900]).unwrap(), &mut cache).unwrap();
        cache
    };
    let step = |tokens: &[u32], caches: &mut [&mut Cache]| {
        let segments = caches.iter_mut().map(|cache| Segment { cache, time: 1 });
        let mut segments = segments.collect::<Vec<_>>();
        let logits = language.forward_ragged(&language.embed_tokens(tokens)?, &mut segments)?;
        logits.to_vec2::<f32>()
    };
    let (mut first, mut full, mut last) = (cache(5), cache(3), cache(5));
    let failed = step(&[7, 8, 9], &mut [&mut first, &mut full, &mut last]).unwrap_err();
    assert!(failed.to_string().contains("do not fit"), "{failed}");
    assert_eq!([first.length(), full.length(), last.length()], [3; 3]);
    let again = step(&[9], &mut [&mut last]).unwrap();
    assert_eq!(again, step(&[9], &mut [&mut cache(4)]).unwrap());
    assert_eq!(last.length(), 4);
}
