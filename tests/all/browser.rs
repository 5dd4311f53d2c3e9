//! A radiologist at the worklist, in a real browser over a real node and a real archive.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::support::browser::Browser;
use super::support::objects::{fixture, root};
use super::support::orthanc::{Report, standard_errors};
use super::support::{Copy, Node, Orthanc, Settings, dcmtk, job_store, wait_until};

const PASSWORD: &str = "reading room 4";
const SIGNED: &str = "Left pleural effusion, unchanged.\nImpression: No new finding.";

/// Whether image and overlay cover each other, pixel by pixel of the same shape.
const SAME_PLACE: &str = "const [film, overlay] = ['#film', 'img.overlay'] \
    .map(name => document.querySelector(name)); \
    const place = image => JSON.stringify(image.getBoundingClientRect()); \
    const shape = image => image.naturalWidth / image.naturalHeight; \
    return place(film) === place(overlay) && Math.abs(shape(film) - shape(overlay)) < 0.02";

/// The studies in the list, from the top.
fn listed(browser: &Browser) -> Vec<String> {
    let script =
        "return [...document.querySelectorAll('tr[data-study]')].map(r => r.dataset.study)";
    let found = browser.run(script);
    found.as_array().unwrap().iter().map(|study| study.as_str().unwrap().to_owned()).collect()
}

fn send(node: &Node, folder: &Path, name: &str, salt: &str) -> Copy {
    let copy = fixture(name).copy(folder, salt);
    assert_eq!(dcmtk::dcmsend(node.port(), &[&copy.path]), 1);
    copy
}

/// Keeps a picture in `docs/` where that is asked for; looks at it in any case.
fn keep(browser: &Browser, name: &str) {
    let png = browser.picture();
    let picture = image::load_from_memory(&png).unwrap().to_luma8();
    let (dark, bright) = picture
        .pixels()
        .fold((255, 0), |(low, high), pixel| (pixel.0[0].min(low), pixel.0[0].max(high)));
    assert!(picture.width() > 800 && bright - dark > 100, "{name} shows something");
    if std::env::var_os("THORASCRIBE_TEST_SCREENSHOTS").is_some() {
        small(&png).save(root().join("docs").join(name)).unwrap();
    }
}

/// The picture in fewer shades, which makes a file small enough to travel.
fn small(png: &[u8]) -> image::RgbImage {
    let mut picture = image::load_from_memory(png).unwrap().to_rgb8();
    for pixel in picture.pixels_mut() {
        pixel.0 = pixel.0.map(|shade| (shade & 0xf0) | (shade >> 4));
    }
    picture
}

fn start(orthanc: &Orthanc) -> Node {
    let hash = thorascribe::vocabulary::Credential::of(PASSWORD).unwrap();
    let user = format!(
        "[[user]]\nname = \"jdoe\"\ndisplay_name = \"Doe^Jane^^Dr.\"\nhash = {:?}\n\
         role = \"radiologist\"\norganization = \"General Hospital\"\n",
        hash.reveal()
    );
    let rule =
        "[[rule]]\nname = \"portable\"\nwhen = 'study.modality == \"CR\"'\npriority = \"stat\"\n";
    Node::start(&Settings::to(&[orthanc.destination("pacs"), user, rule.to_owned()]))
}

fn sign_in(browser: &Browser, node: &Node) {
    browser.go(&format!("http://{}/", node.http));
    assert!(browser.address().ends_with("/sign-in"), "{}", browser.address());
    browser.fill("input[name=name]", "jdoe");
    browser.fill("input[name=password]", PASSWORD);
    browser.click(".sign-in button");
    browser.wait_for_text("Worklist");
}

#[test]
fn a_study_appears_at_its_place_is_edited_signed_and_verified_in_the_archive() {
    let (folder, orthanc) = (TempDir::new().unwrap(), Orthanc::start());
    let node = start(&orthanc);
    let first = send(&node, folder.path(), "dx-pa-explicit", "first");
    let urgent = send(&node, folder.path(), "cr-ap-rle", "urgent");
    for copy in [&first, &urgent] {
        node.wait_for_state(&copy.study, "delivered");
    }
    let browser = Browser::start();
    browser.prefer("light");
    sign_in(&browser, &node);
    assert_eq!(listed(&browser), [urgent.study.clone(), first.study.clone()]);
    // The page stays as it is while a study arrives.
    browser.run("window.stayed = true");
    let later = send(&node, folder.path(), "dx-pa-wide", "later");
    wait_until("the new study is in the list", || listed(&browser).contains(&later.study));
    assert_eq!(listed(&browser), [&urgent.study, &later.study, &first.study].map(Clone::clone));
    node.wait_for_state(&later.study, "delivered");
    job_store::set_priority(&node.spool(), &first.study, "urgent");
    let by_priority = [&urgent.study, &first.study, &later.study].map(Clone::clone);
    wait_until("the list is in order", || listed(&browser) == by_priority);
    wait_until("the draft is shown", || browser.text().matches("delivered").count() >= 3);
    assert_eq!(browser.run("return window.stayed"), Value::Bool(true));
    keep(&browser, "worklist.png");
    // By keys alone to the study, and back.
    browser.press("j");
    browser.press("j");
    browser.press("\u{e007}");
    wait_until("the study is open", || browser.address().ends_with(&first.study));
    browser.press("u");
    browser.wait_for_text("Worklist");
    browser.press("/");
    assert_eq!(browser.run("return document.activeElement.id"), "search");
    browser.go(&format!("http://{}/studies/{}", node.http, first.study));
    let loaded = "const film = document.querySelector('#film'); \
                  return film.complete && film.naturalWidth > 100";
    wait_until("the image is there", || browser.run(loaded) == Value::Bool(true));
    // Where the model looked is laid over the image, and taken away again.
    let shown = "const overlay = document.querySelector('img.overlay'); \
                 return overlay.complete && overlay.naturalWidth > 100 && \
                     getComputedStyle(overlay).visibility === 'visible'";
    assert_eq!(browser.run(shown), Value::Bool(false));
    browser.press("o");
    wait_until("the overlay is shown", || browser.run(shown) == Value::Bool(true));
    assert!(browser.text().contains("Orange: Where the model looked for"));
    assert_eq!(browser.run(SAME_PLACE), Value::Bool(true));
    browser.press("o");
    assert_eq!(browser.run(shown), Value::Bool(false));
    browser.click("#overlay");
    browser.fill("#edit", SIGNED);
    keep(&browser, "study.png");
    browser.click(".sign button");
    browser.wait_for_text("Signed by Dr. Jane Doe");
    let verified = wait_for_verified(&orthanc, &first.study);
    check(&orthanc, &verified, &first.study, folder.path());
    let severe: Vec<String> = browser.complaints();
    assert!(severe.is_empty(), "{severe:#?}");
}

fn wait_for_verified(orthanc: &Orthanc, study: &str) -> Report {
    super::support::wait_for("the verified report in Orthanc", || {
        let reports = orthanc.reports_of(study).into_iter();
        reports.into_iter().find(|report| report.tags["VerificationFlag"] == "VERIFIED")
    })
}

/// The report in the archive is the one that was signed, and lawful.
fn check(orthanc: &Orthanc, verified: &Report, study: &str, folder: &Path) {
    let file = orthanc.download(verified, folder);
    assert_eq!(standard_errors(&file), Vec::<String>::new());
    let tags = &verified.tags;
    let observer = &tags["VerifyingObserverSequence"][0];
    assert_eq!(observer["VerifyingObserverName"], "Doe^Jane^^Dr.");
    assert_eq!(observer["VerifyingOrganization"], "General Hospital");
    assert_eq!(tags["CompletionFlag"], "COMPLETE");
    assert!(tags.to_string().contains("Left pleural effusion, unchanged."));
    let reports = orthanc.reports_of(study);
    let draft = reports.iter().find(|report| report.tags["VerificationFlag"] == "UNVERIFIED");
    let older = &tags["PredecessorDocumentsSequence"][0]["ReferencedSeriesSequence"][0];
    let instance = &older["ReferencedSOPSequence"][0]["ReferencedSOPInstanceUID"];
    assert_eq!(*instance, draft.unwrap().instance.as_str());
    assert_eq!(reports.len(), 2);
}

#[test]
fn the_pages_are_legible_in_the_dark_and_tell_a_stranger_nothing() {
    let (folder, orthanc) = (TempDir::new().unwrap(), Orthanc::start());
    let node = start(&orthanc);
    let study = send(&node, folder.path(), "dx-pa-explicit", "dark");
    node.wait_for_state(&study.study, "delivered");
    let browser = Browser::start();
    browser.go(&format!("http://{}/studies/{}", node.http, study.study));
    assert!(!browser.text().contains("Draft,") && browser.text().contains("Sign in"));
    sign_in(&browser, &node);
    let ground = "return getComputedStyle(document.body).backgroundColor";
    browser.prefer("light");
    let light = browser.run(ground);
    browser.prefer("dark");
    let dark = browser.run(ground);
    assert_ne!(light, dark);
    // What is focused is framed, and what is not text has a name for screen readers.
    browser.press("j");
    let framed = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(framed), "solid");
    let unnamed = "return [...document.querySelectorAll('input, select, textarea, button, img')]\
        .filter(e => e.type !== 'hidden' && !e.labels?.length && !e.getAttribute('aria-label') \
            && !e.textContent.trim() && !e.hasAttribute('alt')).map(e => e.outerHTML)";
    assert_eq!(browser.run(unnamed), Value::Array(Vec::new()));
    browser.click(".user button");
    browser.wait_for_text("Password");
}
