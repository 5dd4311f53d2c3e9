//! Associations: the node's acceptor and requestor against real peers and against bytes that no
//! peer should send.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thorascribe::receive::archive::Archive;

use super::support::objects::{Fixture, fixtures};
use super::support::{dcmtk, modality, process};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn dcmtk_echoes_and_stores_in_every_transfer_syntax() {
    let (runtime, folder) = (runtime(), TempDir::new().unwrap());
    let archive =
        runtime.block_on(Archive::start("THORASCRIBE".parse().unwrap(), folder.path())).unwrap();
    let port = archive.address().port();
    let mut echo = Command::new(dcmtk::program("echoscu"));
    process::succeed(echo.args(["-aec", "THORASCRIBE", "127.0.0.1", &port.to_string()]));
    // DCMTK 3.6.7 does not know high-throughput JPEG 2000; pynetdicom sends it as it is.
    let (high, known): (Vec<_>, Vec<_>) =
        fixtures().iter().partition(|f| f.transfer_syntax.starts_with("1.2.840.10008.1.2.4.20"));
    let paths = |of: &[&Fixture]| of.iter().map(|f| f.path()).collect::<Vec<_>>();
    let (high, known) = (paths(&high), paths(&known));
    let known: Vec<&Path> = known.iter().map(AsRef::as_ref).collect();
    assert_eq!(dcmtk::dcmsend(port, &known), known.len());
    let high: Vec<&Path> = high.iter().map(AsRef::as_ref).collect();
    let answers = modality::send(port, 1, &high);
    assert!(answers.len() == high.len() && answers.values().all(|s| *s == Some(0)), "{answers:?}");
    assert_eq!(archive.files().len(), fixtures().len());
    let plain = fixtures().iter().find(|f| f.transfer_syntax == "1.2.840.10008.1.2.1").unwrap();
    assert_eq!(dcmtk::storescu(port, &[&plain.path()]), 1);
    runtime.block_on(archive.stop());
}
