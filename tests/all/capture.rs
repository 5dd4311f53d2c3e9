//! Pictures of where the model looked, and the key-object selections that point at them: what the
//! validators say of them, what is burned in, and how they reach a destination.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dicom_dictionary_std::tags;
use tempfile::TempDir;
use thorascribe::model::{DraftRequest, Model, ModelDraft};
use thorascribe::object::StoredObject;
use thorascribe::radiograph::{GreyImage, render};
use thorascribe::report::{
    Created, Draft, Evidence, ModelIdentity, NodeIdentity, ObjectFile, capture, is_own, key_object,
};
use thorascribe::vocabulary::PatientText;

use super::support::dcmtk::{self, Storescp};
use super::support::node::{Node, Settings, destination};
use super::support::objects::fixture;
use super::support::orthanc::standard_errors;
use super::support::process;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::embedded().unwrap())
}

/// A fixture with what the model makes of it.
struct Looked {
    path: PathBuf,
    source: StoredObject,
    image: GreyImage,
    answer: ModelDraft,
}

impl Looked {
    fn at(name: &str) -> Self {
        let path = fixture(name).path();
        let source = StoredObject::open(&path).unwrap();
        let image = render(&source).unwrap().image;
        let answer = model().draft(&image, &DraftRequest::default()).unwrap();
        Self { path, source, image, answer }
    }

    fn evidence(&self) -> [Evidence; 1] {
        [Evidence {
            sop_class: self.source.sop_class_uid().clone(),
            instance: self.source.instance_uid().clone(),
            series: self.source.series_uid().clone(),
            digest: "d1".to_owned(),
        }]
    }

    fn draft(&self) -> Draft {
        let moment = jiff::civil::date(2026, 11, 23).at(10, 20, 30, 0);
        Draft {
            text: PatientText::new(&self.answer.text),
            model: ModelIdentity {
                name: "thorascribe-small".to_owned(),
                digest: "0123abcd".repeat(8),
            },
            prompt: "Describe the radiograph.".to_owned(),
            sampling: "greedy".to_owned(),
            version: 1,
            created: Created::new(moment, 60).unwrap(),
            predecessors: Vec::new(),
            findings: Vec::new(),
            priority: thorascribe::vocabulary::Priority::Routine,
            program_version: "0.1.0".to_owned(),
            verification: None,
        }
    }

    fn capture(&self) -> ObjectFile {
        let looked = self.answer.looked.as_ref().unwrap();
        let (evidence, draft) = (self.evidence(), self.draft());
        capture::build(&self.source, &self.image, looked, &evidence, &draft, &node()).unwrap()
    }
}

fn node() -> NodeIdentity {
    NodeIdentity::new(&"THORASCRIBE".parse().unwrap())
}

fn written(file: &ObjectFile, path: PathBuf) -> (PathBuf, StoredObject) {
    std::fs::write(&path, &file.bytes).unwrap();
    let object = StoredObject::open(&path).unwrap();
    assert_eq!(object.data_set_offset(), file.data_set_offset);
    assert_eq!(object.instance_uid(), &file.instance);
    (path, object)
}

fn validated(path: &Path, source: &Path) {
    assert_eq!(standard_errors(path), Vec::<String>::new());
    let dcentvfy = process::find("dcentvfy", "dicom3tools (Debian)", Path::is_file);
    let output = process::run(std::process::Command::new(dcentvfy).args([source, path]));
    let text = process::text(&output);
    assert!(!text.contains("Error"), "{text}");
}

const SOURCES: [&str; 4] =
    ["dx-pa-explicit", "cr-ap-implicit", "cr-pa-japanese-name", "cr-pa-jpeg-2000-lossy"];

#[test]
fn captures_and_key_objects_pass_the_validators() {
    let folder = TempDir::new().unwrap();
    for name in SOURCES {
        let looked = Looked::at(name);
        let capture = looked.capture();
        let (path, object) = written(&capture, folder.path().join("capture.dcm"));
        validated(&path, &looked.path);
        assert!(is_own(&object), "{name}");
        assert_eq!(object.value(tags::MODALITY).unwrap(), "OT");
        let described = object.value(tags::DERIVATION_DESCRIPTION).unwrap();
        assert!(described.starts_with("Where the model looked for: "), "{described}");

        let (evidence, draft) = (looked.evidence(), looked.draft());
        let selection =
            key_object::build(&looked.source, &capture, &evidence, &draft, &node()).unwrap();
        let (path, object) = written(&selection, folder.path().join("key.dcm"));
        validated(&path, &looked.path);
        let dump = dcmtk::dsrdump(&path);
        assert!(dump.contains("Of Interest") && dump.contains("NOT FOR DIAGNOSIS"), "{dump}");
        assert!(is_own(&object), "{name}");
        let images = object.items(tags::CONTENT_SEQUENCE);
        let named: Vec<String> = images
            .iter()
            .flat_map(|item| item.items(tags::REFERENCED_SOP_SEQUENCE))
            .filter_map(|image| image.value(tags::REFERENCED_SOP_INSTANCE_UID))
            .collect();
        let wanted = [looked.source.instance_uid().to_string(), capture.instance.to_string()];
        assert_eq!(named, wanted, "{name}");
    }
}

/// The picture as DCMTK draws it.
fn drawn(capture: &ObjectFile, folder: &Path) -> image::RgbImage {
    let (path, _) = written(capture, folder.join("capture.dcm"));
    let picture = folder.join("capture.png");
    let program = dcmtk::program("dcmj2pnm");
    let mut command = std::process::Command::new(program);
    process::succeed(command.arg("--write-png").arg(&path).arg(&picture));
    image::open(&picture).unwrap().into_rgb8()
}

#[test]
fn the_mark_is_in_the_pixels_and_the_peak_is_coloured() {
    let folder = TempDir::new().unwrap();
    let looked = Looked::at("dx-pa-explicit");
    let picture = drawn(&looked.capture(), folder.path());
    let line = picture.width() / 24;
    let above = 0..line * 2;
    let below = picture.height() - line * 3..picture.height();
    let white = |rows: std::ops::Range<u32>| {
        let places = rows.flat_map(|row| (0..picture.width()).map(move |column| (column, row)));
        let counted = places.filter(|(x, y)| picture.get_pixel(*x, *y).0.iter().all(|v| *v > 200));
        counted.count()
    };
    assert!(white(above) > 500, "the words above");
    assert!(white(below) > 300, "the words below");

    let map = looked.answer.looked.as_ref().unwrap();
    let height = picture.height() - line * 5;
    let at = |(x, y): (f64, f64)| {
        let place = |part: f64, length: u32| (part * f64::from(length)) as u32;
        let column = place(x, picture.width()).min(picture.width() - 1);
        picture.get_pixel(column, line * 2 + place(y, height).min(height - 1)).0
    };
    let [red, _, blue] = at(map.peak().middle());
    assert!(red > blue + 60, "{red} {blue}");
    let [red, green, blue] = at(map.lowest().middle());
    assert!(red == green && green == blue, "{red} {green} {blue}");
}

#[test]
fn another_picture_has_another_uid_and_the_same_one_the_same_bytes() {
    let looked = Looked::at("dx-pa-explicit");
    let first = looked.capture();
    assert_eq!(first, looked.capture());
    let mut other = looked.answer.looked.clone().unwrap();
    other.score /= 2.0;
    let (evidence, draft) = (looked.evidence(), looked.draft());
    let other =
        capture::build(&looked.source, &looked.image, &other, &evidence, &draft, &node()).unwrap();
    assert_ne!(first.instance, other.instance);
    assert_ne!(first.series, other.series);
}

#[test]
fn a_destination_gets_the_picture_and_the_selection_that_it_receives() {
    let folder = TempDir::new().unwrap();
    let (all, pictures, reports) = (Storescp::start(), Storescp::start(), Storescp::start());
    let to = |name, peer: &Storescp, receives: &[&str]| {
        destination(name, "STORESCP", peer.port(), receives)
    };
    let route = "[[route]]\nname = \"too\"\nto = [\"all\"]\nsend = [\"key_object\"]\n";
    let node = Node::start(&Settings::to(&[
        to("all", &all, &["report"]) + route,
        to("pictures", &pictures, &["capture"]),
        to("reports", &reports, &["report"]),
    ]));
    let chest = fixture("dx-pa-explicit").copy(folder.path(), "a");
    assert_eq!(dcmtk::storescu(node.port(), &[&chest.path]), 1);
    let row = node.wait_for_state(&chest.study, "delivered");
    let deliveries = row["deliveries"].as_array().unwrap();
    let mut sent: Vec<String> = deliveries
        .iter()
        .map(|d| [&d["destination"], &d["object"]].map(|v| v.as_str().unwrap()).join(" "))
        .collect();
    sent.sort();
    let wanted =
        ["all capture", "all key_object", "all report", "pictures capture", "reports report"];
    assert_eq!(sent, wanted);
    let count = |peer: &Storescp| ["SR", "SC", "KO"].map(|kind| peer.received(kind).len());
    assert_eq!(count(&all), [1, 1, 1]);
    assert_eq!(count(&pictures), [0, 1, 0]);
    assert_eq!(count(&reports), [1, 0, 0]);
    let capture = &pictures.received("SC")[0];
    assert_eq!(standard_errors(capture), Vec::<String>::new());
    assert_eq!(standard_errors(&all.received("KO")[0]), Vec::<String>::new());

    // Sent to the node, neither is drafted from.
    assert_eq!(dcmtk::storescu(node.port(), &[capture]), 1);
    let marker = fixture("cr-ap-implicit").copy(folder.path(), "b");
    assert_eq!(dcmtk::storescu(node.port(), &[&marker.path]), 1);
    node.wait_for_state(&marker.study, "delivered");
    assert_eq!(reports.received("SR").len(), 2);
}
