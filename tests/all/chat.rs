//! Conversations: templates, memory, streaming, and the command as scripts see it.

use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use thorascribe::model::chat::Chat;
use thorascribe::model::checkpoint::manifest::{ConversationTemplate, ImageTokens, Manifest};
use thorascribe::model::prompt::{PromptTokens, template};
use thorascribe::model::{DraftRequest, Ended, Model, ModelError, PromptChoice, Sampling, Watch};
use thorascribe::radiograph::{GreyImage, open_picture};

use super::model::{changed, imported, reference};
use super::support::node::program;

const QUESTIONS: [&str; 3] =
    ["Is there an effusion?", "Which side?", "Describe the heart in one sentence."];

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::open(imported(ImageTokens::Pooled)).unwrap())
}

fn image() -> GreyImage {
    open_picture(&reference().join("image.png")).unwrap()
}

fn tokens(most: usize) -> Sampling {
    Sampling { max_tokens: most, ..Sampling::default() }
}

/// The text that a watch is given, and the watch.
fn listening() -> (Arc<Mutex<Vec<String>>>, Watch) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    (heard, Box::new(move |piece| ear.lock().unwrap().push(piece.to_owned())))
}

#[test]
fn a_manifest_holds_its_templates_and_a_single_one_keeps_working() {
    let manifest = model().manifest();
    let names = |manifest: &Manifest| {
        let choices = manifest.conversation.choices().into_owned();
        choices.into_iter().map(|template| template.name).collect::<Vec<_>>()
    };
    assert_eq!(names(manifest), ["patient-doctor", "human-assistant"]);
    let text = std::fs::read_to_string(imported(ImageTokens::Pooled).join("manifest.toml"));
    assert!(text.unwrap().contains("[[conversation.templates]]"));

    let ids = |model: &Model, name| {
        let template = template(model.manifest(), name).unwrap();
        PromptTokens::new(model.manifest(), model.tokenizer(), &template, "Why?").unwrap()
    };
    let single = changed(ImageTokens::Pooled, |manifest| {
        manifest.conversation.templates.clear();
        manifest.conversation.template =
            "###Patient: <Img><ImageHere></Img> {prompt} ###Doctor: ".to_owned();
    });
    assert_eq!(names(single.manifest()), ["patient-doctor", "human-assistant"]);
    for name in [None, Some("patient-doctor"), Some("human-assistant")] {
        assert_eq!(ids(&single, name), ids(model(), name));
    }
    // The embedded model's manifest is of that kind.
    assert_eq!(names(Model::embedded().unwrap().manifest()), names(manifest));

    let other = changed(ImageTokens::Pooled, |manifest| {
        manifest.conversation.templates.clear();
        manifest.conversation.template = "Q: <Img><ImageHere></Img> {prompt} A:".to_owned();
    });
    assert_eq!(names(other.manifest()), ["single", "patient-doctor", "human-assistant"]);
    let single = template(other.manifest(), None).unwrap();
    let (before, after) = single.first_turn("Why?");
    assert_eq!((before.as_str(), after.as_str()), ("Q: <Img>", "</Img> Why? A:"));
    assert_eq!(single.later_turn("Where?"), "Q: Where? A:");

    let absent = template(manifest, Some("robot")).unwrap_err().to_string();
    assert!(absent.contains("robot") && absent.contains("human-assistant"), "{absent}");
}

#[test]
fn a_template_with_a_system_text_stands_as_in_minigpt_4() {
    let template = template(model().manifest(), Some("human-assistant")).unwrap();
    let (before, after) = template.first_turn("Is it normal?");
    assert!(before.starts_with("Give the following image: <Img>ImageContent</Img>."), "{before}");
    assert!(before.ends_with("Please answer my questions.###Human: <Img>"), "{before}");
    assert_eq!(after, "</Img> Is it normal?###Assistant:");
    let request = |name: &str| DraftRequest {
        template: Some(name.to_owned()),
        sampling: tokens(12),
        ..DraftRequest::default()
    };
    let features = model().encode(&image()).unwrap();
    let draft = |name| model().draft_from(&features, &request(name)).unwrap().token_ids;
    assert_ne!(draft("human-assistant"), draft("patient-doctor"));
}

#[test]
fn a_manifest_that_cannot_be_is_said_to_be_wrong() {
    let wrong = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = model().manifest().clone();
        change(&mut manifest);
        manifest.check().unwrap_err()
    };
    let templates = |change: &dyn Fn(&mut Vec<ConversationTemplate>)| {
        wrong(&|manifest| change(&mut manifest.conversation.templates))
    };
    for (problem, words) in [
        (templates(&Vec::clear), "no template"),
        (templates(&|all| all[1].name = all[0].name.clone()), "two templates"),
        (templates(&|all| all[0].image = "<Img>".to_owned()), "<ImageHere> once"),
        (templates(&|all| all[0].system = "<ImageHere>".to_owned()), "belongs into image"),
        (templates(&|all| all[0].stop_tokens = vec![vec![1 << 30]]), "outside the vocabulary"),
        (templates(&|all| all[0].stop_texts = vec![String::new()]), "empty stop"),
        (wrong(&|m| m.conversation.template = "<ImageHere>{prompt}".to_owned()), "keep one"),
    ] {
        assert!(problem.contains(words), "{problem} does not say {words}");
    }
}

/// The greedy answer of so many tokens to a question after these questions and answers, all read
/// at once.
fn told(model: &Model, turns: &[(&str, Vec<u32>)], question: &str, most: usize) -> Vec<u32> {
    let template = template(model.manifest(), None).unwrap();
    let first = turns.first().map_or(question, |(question, _)| question);
    let mut prompt =
        PromptTokens::new(model.manifest(), model.tokenizer(), &template, first).unwrap();
    let later = turns.iter().skip(1).map(|(question, _)| *question).chain([question]);
    for ((_, answer), next) in turns.iter().zip(later) {
        prompt.after.extend(answer);
        prompt.after.extend(model.tokenizer().encode(&template.later_turn(next)).unwrap());
    }
    let features = model.encode(&image()).unwrap();
    let mut ids = Vec::new();
    model
        .generate(&prompt, features.image_tokens(), most, |logits| {
            ids.push(logits.argmax(0).unwrap().to_scalar::<u32>().unwrap());
            Ok(ids.last().copied())
        })
        .unwrap();
    ids
}

#[test]
fn a_conversation_says_what_its_whole_transcript_gives() {
    let features = model().encode(&image()).unwrap();
    let mut chat = Chat::new(model(), features.clone(), None).unwrap();
    let mut turns = Vec::new();
    for (i, question) in QUESTIONS.into_iter().enumerate() {
        let answer = chat.ask(question, &tokens(9 + i), None).unwrap().token_ids;
        assert_eq!(answer, told(model(), &turns, question, answer.len()), "answer {i}");
        turns.push((question, answer));
    }
    // The same question at the start has another answer, and the same one after a reset.
    let last = chat.ask(QUESTIONS[1], &tokens(9), None).unwrap();
    chat.reset();
    assert_eq!(chat.positions(), 0);
    let alone = chat.ask(QUESTIONS[1], &tokens(9), None).unwrap();
    let direct = DraftRequest {
        prompt: PromptChoice::Text(QUESTIONS[1].to_owned()),
        sampling: tokens(9),
        ..DraftRequest::default()
    };
    assert_eq!(alone.token_ids, model().draft_from(&features, &direct).unwrap().token_ids);
    assert_ne!(alone.token_ids, last.token_ids);
}

#[test]
fn an_answer_streams_as_its_text_and_never_shows_its_end() {
    let features = model().encode(&image()).unwrap();
    let whole = Chat::new(model(), features.clone(), None)
        .unwrap()
        .ask(QUESTIONS[0], &tokens(40), None)
        .unwrap();
    // Stop at a text that runs over a border of two tokens, and at two of the answer's tokens.
    let border = |at: usize| model().tokenizer().decode(&whole.token_ids[..at]).unwrap();
    let (six, seven) = (border(6), border(7));
    let before = six.chars().last().unwrap();
    let after = seven.trim_start_matches(six.as_str()).chars().next().unwrap();
    let text = format!("{before}{after}");
    for (texts, ids) in [(vec![text.clone()], vec![]), (vec![], whole.token_ids[6..8].to_vec())] {
        let model = changed(ImageTokens::Pooled, |manifest| {
            manifest.conversation.stop_texts = texts.clone();
            manifest.conversation.stop_tokens = vec![ids.clone()];
            manifest.conversation.stop_tokens.retain(|ids| !ids.is_empty());
        });
        let (heard, watch) = listening();
        let mut chat = Chat::new(&model, features.clone(), None).unwrap();
        let answer = chat.ask(QUESTIONS[0], &tokens(40), Some(watch)).unwrap();
        assert_eq!(answer.ended, Ended::Stop);
        assert!(answer.token_ids.len() <= 6, "{:?}", answer.token_ids);
        assert!(whole.token_ids.starts_with(&answer.token_ids));
        assert_eq!(heard.lock().unwrap().concat(), answer.text);
        assert!(texts.iter().all(|text| !answer.text.contains(text)));
    }
}

#[test]
fn the_pieces_of_a_stream_are_the_text_whatever_the_tokens() {
    let features = model().encode(&image()).unwrap();
    for seed in 0..8 {
        let (heard, watch) = listening();
        let mut chat = Chat::new(model(), features.clone(), None).unwrap();
        let wild = Sampling { temperature: 20.0, seed, ..tokens(48) };
        let answer = chat.ask(QUESTIONS[0], &wild, Some(watch)).unwrap();
        let heard = heard.lock().unwrap();
        assert_eq!(heard.concat(), answer.text, "seed {seed}");
        assert!(heard.len() > 4, "{} pieces", heard.len());
        assert_eq!(answer.log_probabilities.len(), answer.token_ids.len());
    }
}

#[test]
fn a_full_context_forgets_the_first_turns_and_reads_the_rest_again() {
    let context = 160;
    let model = changed(ImageTokens::Pooled, |manifest| {
        manifest.language_model.max_position_embeddings = context;
    });
    let mut chat = Chat::new(&model, model.encode(&image()).unwrap(), None).unwrap();
    let thirty = Sampling { min_tokens: 30, ..tokens(30) };
    let mut turns = Vec::new();
    for (i, question) in QUESTIONS.into_iter().cycle().take(7).enumerate() {
        let answer = chat.ask(question, &thirty, None).unwrap();
        assert_eq!(answer.token_ids.len(), 30);
        assert!(chat.positions() <= context);
        let known = &turns[chat.forgotten()..];
        assert_eq!(answer.token_ids, told(&model, known, question, 30), "answer {i}");
        turns.push((question, answer.token_ids));
    }
    assert!((2..6).contains(&chat.forgotten()), "{} turns are forgotten", chat.forgotten());

    // What does not fit even alone changes nothing.
    let (held, forgotten) = (chat.positions(), chat.forgotten());
    let long = chat.ask(&"why ".repeat(200), &thirty, None).unwrap_err();
    assert!(matches!(long, ModelError::Context { context: 160, .. }), "{long}");
    assert_eq!((chat.positions(), chat.forgotten()), (held, forgotten));

    // An answer that is longer than the context is cut off, and the conversation goes on.
    let endless = Sampling { min_tokens: 400, ..tokens(400) };
    assert_eq!(chat.ask(QUESTIONS[2], &endless, None).unwrap().ended, Ended::Context);
    assert_eq!(chat.ask(QUESTIONS[1], &thirty, None).unwrap().token_ids.len(), 30);
    chat.reset();
    assert_eq!((chat.positions(), chat.forgotten()), (0, 0));
    let again = chat.ask(QUESTIONS[0], &thirty, None).unwrap();
    assert_eq!(again.token_ids, turns[0].1);
}

#[test]
fn a_conversation_goes_on_from_what_a_search_found() {
    let features = model().encode(&image()).unwrap();
    let mut chat = Chat::new(model(), features.clone(), None).unwrap();
    let search = Sampling { beams: 3, ..tokens(8) };
    let found = chat.ask(QUESTIONS[0], &search, None).unwrap();
    let direct = DraftRequest {
        prompt: PromptChoice::Text(QUESTIONS[0].to_owned()),
        sampling: search,
        ..DraftRequest::default()
    };
    assert_eq!(found.token_ids, model().draft_from(&features, &direct).unwrap().token_ids);
    let next = chat.ask(QUESTIONS[1], &tokens(10), None).unwrap().token_ids;
    let turns = [(QUESTIONS[0], found.token_ids)];
    assert_eq!(next, told(model(), &turns, QUESTIONS[1], next.len()));
}

fn talk(arguments: &[&str], input: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let image = reference().join("image.png");
    let mut chat = program(home.path());
    chat.arg("chat").arg(image).args(arguments);
    chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut chat = chat.spawn().unwrap();
    // One that has ended with an error reads nothing.
    drop(chat.stdin.take().unwrap().write_all(input.as_bytes()));
    chat.wait_with_output().unwrap()
}

#[test]
fn chat_answers_a_line_for_a_line() {
    let folder = imported(ImageTokens::Pooled).to_str().unwrap();
    let common = ["--model", folder, "--max-tokens", "8", "--template", "human-assistant"];
    let input = format!(
        "{}\n{}\n/reset\n\n{}\n/quit\nnever asked\n",
        QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]
    );
    let plain = talk(&common, &input);
    assert_eq!(plain.status.code(), Some(0), "{}", String::from_utf8_lossy(&plain.stderr));
    let plain = String::from_utf8(plain.stdout).unwrap();
    let objects = talk(&[&common[..], &["--json"]].concat(), &input);
    let objects = String::from_utf8(objects.stdout).unwrap();
    let objects = objects.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let objects = objects.collect::<Vec<_>>();
    assert_eq!(objects.len(), 3);
    for (line, object) in plain.lines().zip(&objects) {
        assert_eq!(line, object["text"].as_str().unwrap().replace(['\n', '\r'], " "));
    }
    assert_eq!(plain.lines().count(), 3);
    let prompts = objects.iter().map(|object| object["prompt"].as_str().unwrap());
    assert_eq!(prompts.collect::<Vec<_>>(), [QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]]);
    assert_eq!(objects[0]["token_ids"], objects[2]["token_ids"]);
    assert_eq!(objects[0]["token_ids"].as_array().unwrap().len(), 8);

    // Questions given with the command come before those of the input.
    let given = ["--prompt", "2", "--prompt", QUESTIONS[1], "--json", "--beams", "2"];
    let output = talk(&[&common[..], &given].concat(), &format!("{}\n99\n", QUESTIONS[2]));
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.collect::<Vec<_>>();
    let prompts = lines.iter().map(|line| line["prompt"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(prompts, [model().prompts()[1].as_str(), QUESTIONS[1], QUESTIONS[2], "99"]);
    assert!(lines[3]["error"].as_str().unwrap().contains("no prompt 99"), "{}", lines[3]);
    assert_eq!(lines[2]["forgotten"], 0);

    // A question that does not fit fails alone.
    let long = "why ".repeat(3000);
    let output = talk(&[&common[..], &["--json"]].concat(), &format!("{long}\n{}\n", QUESTIONS[0]));
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.collect::<Vec<_>>();
    assert!(lines[0]["error"].as_str().unwrap().contains("context"), "{}", lines[0]["error"]);
    assert_eq!(lines[1]["token_ids"], objects[0]["token_ids"]);

    let unknown = talk(&["--model", folder, "--template", "robot"], "");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("patient-doctor"));
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_gpu_that_the_build_cannot_use_is_an_error_and_auto_is_none() {
    let folder = imported(ImageTokens::Pooled).to_str().unwrap();
    let common = ["--model", folder, "--max-tokens", "2", "--device"];
    let output = talk(&[&common[..], &["cuda:0"]].concat(), "Why?\n");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no CUDA") && text.contains("auto"), "{text}");
    assert_eq!(talk(&[&common[..], &["gpu"]].concat(), "").status.code(), Some(2));
    assert_eq!(talk(&[&common[..], &["auto"]].concat(), "Why?\n").status.code(), Some(0));
}
