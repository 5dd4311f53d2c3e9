//! A checkpoint in the released layout at work: in the node, in `draft` and `chat`, and how much
//! memory an import takes.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thorascribe::model::Model;
use thorascribe::model::checkpoint::ModelFiles;
use thorascribe::radiograph::open_picture;

use super::model::{reference, released};
use super::support::dcmtk::{self, Storescp};
use super::support::node::program;
use super::support::objects::fixture;
use super::support::{Node, Settings, modality};

/// The model, its answers cut short: random weights have no end to come to.
fn settings(destinations: &[String]) -> Settings {
    Settings {
        environment: vec![
            ("THORASCRIBE_MODEL__PATH", released().display().to_string()),
            ("THORASCRIBE_MODEL__MAX_TOKENS", "24".to_owned()),
        ],
        ..Settings::to(destinations)
    }
}

#[test]
fn the_node_drafts_with_it_and_the_report_names_it() {
    let folder = TempDir::new().unwrap();
    let storescp = Storescp::start();
    let node = Node::start(&settings(&[storescp.destination("pacs")]));
    let names = ["cr-ap-jpeg-baseline", "dx-pa-explicit", "dx-ap-jpeg-2000"];
    let copies = names.map(|name| fixture(name).copy(folder.path(), "released"));
    let files = copies.iter().map(|copy| copy.path.as_path()).collect::<Vec<_>>();
    let answers = modality::send(node.port(), 1, &files);
    for copy in &copies {
        assert_eq!(answers[&copy.instance], Some(0), "{}", node.log());
        node.wait_for_state(&copy.study, "delivered");
    }
    let digest = ModelFiles::open(released()).unwrap().digest().to_owned();
    let reports = storescp.received("SR");
    assert_eq!(reports.len(), copies.len());
    for report in &reports {
        dcmtk::dsrdump(report);
        let bytes = std::fs::read(report).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(holds("xraygpt") && holds(&digest), "{}", report.display());
    }
}

#[test]
fn draft_and_chat_ask_it_in_words() {
    let home = TempDir::new().unwrap();
    let image = reference().join("image.png");
    let common = ["--model", released().to_str().unwrap(), "--max-tokens", "5", "--json"];
    let mut draft = program(home.path());
    draft.arg("draft").arg(&image).args(common).args(["--prompt", "Is there an effusion?"]);
    let output = draft.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["prompt"], "Is there an effusion?");
    assert_eq!(line["model"]["name"], "xraygpt");
    assert!(line["abnormal"].is_null());
    let scores = line["scores"].as_object().unwrap();
    let asked: Vec<f64> = scores.values().map(|score| score.as_f64().unwrap()).collect();
    assert_eq!(asked.len(), 20);
    assert!(asked.iter().all(|p| *p > 0.0 && *p < 1.0));
    assert!(line["seconds"]["ask"].as_f64().unwrap() > 0.0);
    // They are what the model answers to the questions in its manifest, one by one.
    let model = Model::open(released()).unwrap();
    let features = model.encode(&open_picture(&image).unwrap()).unwrap();
    let question = "Does this chest x-ray show pleural effusion? Answer yes or no.";
    let answer = model.yes_probabilities(&features, &[question], None).unwrap()[0];
    assert!((scores["pleural_effusion"].as_f64().unwrap() - f64::from(answer)).abs() < 1e-5);
    let mut silent = program(home.path());
    silent.env("THORASCRIBE_MODEL__ASK_FINDINGS", "false").arg("draft").arg(&image).args(common);
    let output = silent.output().unwrap();
    let silent: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(silent["scores"], serde_json::json!({}));
    assert!(silent["seconds"].get("ask").is_none());
    let mut chat = program(home.path());
    chat.arg("chat").arg(&image).args(common);
    chat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut chat = chat.spawn().unwrap();
    let mut stdin = chat.stdin.take().unwrap();
    stdin.write_all(b"Is there an effusion?\nOn which side?\n").unwrap();
    drop(stdin);
    let output = chat.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let answers = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let answers = answers.collect::<Vec<_>>();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["token_ids"], line["token_ids"]);
    assert_eq!(answers[1]["prompt"], "On which side?");
}

/// A checkpoint whose language model has 170 MiB in tensors of 1 MiB, all zero.
fn write_large(folder: &Path) {
    const WIDTH: usize = 512;
    const LAYERS: usize = 24;
    let small = reference().parent().unwrap().join("small/vicuna");
    let image = reference().parent().unwrap().join("minigpt4");
    for file in ["eva_vit_g.pth", "blip2_pretrained_flant5xxl.pth", "geometry.json"] {
        std::fs::copy(image.join(file), folder.join(file)).unwrap();
    }
    let vicuna = folder.join("vicuna");
    std::fs::create_dir(&vicuna).unwrap();
    std::fs::copy(small.join("tokenizer.model"), vicuna.join("tokenizer.model")).unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 328, "hidden_size": WIDTH, "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "hidden_act": "silu",
    });
    std::fs::write(vicuna.join("config.json"), config.to_string()).unwrap();
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![328, WIDTH]),
        ("lm_head.weight".to_owned(), vec![328, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let attention = ["q", "k", "v", "o"].map(|part| format!("self_attn.{part}_proj"));
        let mlp = ["gate", "up", "down"].map(|part| format!("mlp.{part}_proj"));
        for part in attention.iter().chain(&mlp) {
            tensors.push((name(part), vec![WIDTH, WIDTH]));
        }
        for part in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((name(part), vec![WIDTH]));
        }
    }
    write_zeros(&vicuna.join("model.safetensors"), &tensors);
    let aligned = [("llama_proj.weight", vec![WIDTH, 64]), ("llama_proj.bias", vec![WIDTH])];
    let aligned = aligned.map(|(name, shape)| {
        let zeros = vec![0.0; shape.iter().product()];
        (name.to_owned(), shape, zeros)
    });
    super::model::save(&folder.join("xraygpt_checkpoint.pth"), &aligned);
}

/// A safetensors file of zeros, which takes no room on the disk.
fn write_zeros(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 4 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
        header.insert(name.clone(), entry);
        at = end;
    }
    let header = Value::Object(header).to_string();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + at) as u64).unwrap();
}

/// The most memory that a process has held so far, MiB.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[test]
fn an_import_holds_a_few_tensors_whatever_the_model_s_size() {
    let folder = TempDir::new().unwrap();
    write_large(folder.path());
    let size = folder.path().join("vicuna/model.safetensors").metadata().unwrap().len() >> 20;
    assert!(size > 160, "{size} MiB");
    for dtype in ["f32", "q8_0"] {
        let out = TempDir::new().unwrap();
        let mut import = program(folder.path());
        import.args(["model", "import"]).arg(folder.path()).arg("--out").arg(out.path());
        let import = import.args(["--dtype", dtype]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut import = import.spawn().unwrap();
        let mut most = 0;
        while import.try_wait().unwrap().is_none() {
            most = most.max(peak(import.id()).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = import.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!((1..100).contains(&most), "{dtype}: {most} MiB for a model of {size} MiB");
    }
}
