//! A radiologist edits and signs.

use thorascribe::object::StoredObject;
use thorascribe::report::sr::check::check;
use thorascribe::spool::DeliveryObject;
use thorascribe::vocabulary::PatientText;

use super::super::spool::bench::{Bench, draft, report};
use super::receive;
use super::web::{Answer, Browser, Web, users};

const PASSWORD: &str = "a pass phrase";
const PACS: &str =
    "[[destination]]\nname = \"pacs\"\nae_title = \"A\"\nhost = \"127.0.0.1\"\nport = 1\n";

/// A study with a draft, and a page with a reader and a radiologist.
fn drafted() -> (Bench, Web, String) {
    let bench = Bench::new();
    let study = receive(&bench.spool, "dx-pa-explicit.dcm");
    let lease = bench.lease();
    let mut drafted = draft(&lease, vec![report("pacs")]);
    drafted.text = PatientText::new("Small left effusion.\nImpression: Effusion.");
    drafted.draft = serde_json::json!({
        "model": {"name": "tiny", "digest": "ab".repeat(32)}, "scores": [["pleural_effusion", 0.83]],
    });
    lease.drafted(drafted).unwrap();
    let people = users(&[("rita", "reader", PASSWORD), ("rad", "radiologist", PASSWORD)]);
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &format!("{PACS}{people}"));
    (bench, web, format!("/studies/{study}"))
}

fn sign(browser: &mut Browser, study: &str, text: &str) -> Answer {
    let page = browser.get(study);
    let (csrf, version) = (page.field("csrf"), page.field("version"));
    let fields = [("csrf", &*csrf), ("version", &*version), ("text", text)];
    browser.post(&format!("{study}/sign"), &fields)
}

#[test]
fn a_radiologist_signs_and_the_verified_report_is_what_goes() {
    let (bench, web, study) = drafted();
    let mut browser = Browser::at(web.address);
    browser.sign_in("rad", PASSWORD);
    let text = "Moderate left effusion.\r\nImpression: Effusion.";
    assert_eq!(sign(&mut browser, &study, text).location(), study);
    let page = browser.get(&study).text();
    assert!(page.contains("Signed by Dr. Jane Doe") && page.contains("Moderate left effusion."));
    let lease = bench.spool.lease_delivery("pacs").unwrap().unwrap();
    let DeliveryObject::Report(files) = &lease.object else { panic!("{lease:?}") };
    assert_eq!(files.len(), 3, "each SR class");
    for file in files {
        let report = StoredObject::open(&file.path).unwrap();
        assert_eq!(check(&report), [], "{:?}", file.sop_class);
    }
    lease.sent(&"2.25.1".parse().unwrap()).unwrap();
    assert!(bench.spool.lease_delivery("pacs").unwrap().is_none(), "the draft goes no more");
    let list = browser.get("/").text();
    assert!(list.contains("signed") && list.contains("Dr. Jane Doe"));
    let download = browser.get(&format!("{study}/report.dcm?version=2"));
    assert_eq!(download.status, 200);
    assert!(download.head.contains("application/dicom"));
    assert_eq!(&download.body[128..132], b"DICM");
    // A correction of what was signed is a version of its own.
    assert_eq!(sign(&mut browser, &study, "Corrected.").location(), study);
    assert_eq!(bench.rows()[0].version, 3);
}

#[test]
fn only_a_radiologist_s_own_form_of_the_version_read_signs() {
    let (bench, web, study) = drafted();
    let mut reader = Browser::at(web.address);
    reader.sign_in("rita", PASSWORD);
    let page = reader.get(&study);
    assert!(!page.text().contains("Sign as verified"));
    let path = format!("{study}/sign");
    let csrf = page.field("csrf");
    let fields = [("csrf", &*csrf), ("version", "1"), ("text", "Mine.")];
    assert_eq!(reader.post(&path, &fields).status, 403);
    let mut browser = Browser::at(web.address);
    browser.sign_in("rad", PASSWORD);
    assert_eq!(browser.post(&path, &fields).status, 403, "another session's token");
    let csrf = browser.get(&study).field("csrf");
    for (version, text, why) in [("7", "My text.", "another version"), ("1", " ", "needs a text")] {
        let fields = [("csrf", &*csrf), ("version", version), ("text", text)];
        let answer = browser.post(&path, &fields);
        assert_eq!(answer.status, 409);
        assert!(answer.text().contains(why), "{}", answer.text());
        assert!(answer.text().contains(&format!("{}</textarea>", text.trim())));
    }
    assert_eq!(bench.rows().len(), 1);
}

#[test]
fn the_page_of_a_study_shows_image_findings_and_tree() {
    let (_bench, web, study) = drafted();
    let mut browser = Browser::at(web.address);
    browser.sign_in("rad", PASSWORD);
    sign(&mut browser, &study, "Moderate left effusion.");
    let page = browser.get(&study).text();
    for part in ["pleural effusion", "83%", "VERIFIED", "Finding (121071, DCM)"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let image = |query: &str, browser: &mut Browser| {
        let answer = browser.get(&format!("{study}/image.png{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        image::load_from_memory(&answer.body).unwrap().to_luma8()
    };
    let small = image("?size=96", &mut browser);
    assert_eq!(small.width().max(small.height()), 96);
    let as_stored = image("?size=256", &mut browser);
    let bright = image("?size=256&center=1&width=2", &mut browser);
    let mean = |image: &image::GrayImage| {
        image.pixels().map(|p| u64::from(p.0[0])).sum::<u64>()
            / u64::from(image.width() * image.height())
    };
    assert!(mean(&bright) > 240 || mean(&bright) < 15, "{}", mean(&bright));
    assert!((20..235).contains(&mean(&as_stored)));
    for wrong in ["?size=x", "?center=1&width=0", "?center=a&width=2"] {
        assert_eq!(browser.get(&format!("{study}/image.png{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(browser.get("/studies/1.2.3.9/image.png").status, 404);
    assert_eq!(browser.get(&format!("{study}/report.dcm?version=9")).status, 404);
}

#[test]
fn the_list_is_sent_again_only_when_it_changed() {
    let (bench, web, study) = drafted();
    let mut browser = Browser::at(web.address);
    browser.sign_in("rad", PASSWORD);
    let first = browser.get("/rows");
    let mark = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    browser.headers.push(("If-None-Match", mark.clone()));
    browser.headers.push(("X-Thorascribe-Poll", "1".to_owned()));
    assert_eq!(browser.get("/rows").status, 304);
    bench.store(7, 1, b"data");
    let second = browser.get("/rows");
    assert_eq!(second.status, 200);
    assert!(second.text().contains("1.2.3.7") && second.text().contains(&study));
    browser.cookies.clear();
    assert_eq!(browser.get("/rows").status, 401);
}

#[test]
fn patients_are_found_by_name_identifier_and_text() {
    let (bench, web, study) = drafted();
    bench.store(7, 1, b"data");
    let mut browser = Browser::at(web.address);
    browser.sign_in("rita", PASSWORD);
    let uid = study.strip_prefix("/studies/").unwrap().parse().unwrap();
    let caption = bench.spool.job(&uid).unwrap().unwrap().caption;
    let name = caption.patient.reveal().split(' ').next().unwrap().to_uppercase();
    for q in [&*name, caption.patient_id.reveal(), "LEFT%20effusion"] {
        let list = browser.get(&format!("/?q={q}")).text();
        assert!(list.contains(&study) && !list.contains("1.2.3.7"), "{q}");
    }
    // What stands in no text is not found, though the scores name it.
    for q in ["nobody", "laterality", "hernia"] {
        let none = browser.get(&format!("/?q={q}&signed=no")).text();
        assert!(none.contains("No study."), "{q}");
    }
    assert_eq!(browser.get("/?page=x").status, 400);
}
