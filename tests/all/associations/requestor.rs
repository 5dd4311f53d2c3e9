//! The node as requestor, against archives that keep the rules and some that do not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{
    AssociationAC, PresentationContextResult, PresentationContextResultReason, UserVariableItem,
};
use tempfile::TempDir;
use thorascribe::dimse::command::{Command, field};
use thorascribe::dimse::negotiate::Offer;
use thorascribe::dimse::requestor::{ProposedContext, Remote, RequestError, Requestor, StoreItem};
use thorascribe::dimse::{Ended, Status, Timers};
use thorascribe::receive::archive::Archive;
use thorascribe::vocabulary::{SopClass, TransferSyntax};

use super::super::support::Orthanc;
use super::super::support::dcmtk::Storescp;
use super::super::support::objects::{Fixture, fixture, fixtures};
use super::raw::{CR, EXPLICIT, data_set_of, p_data, runtime};

fn remote(called: &str, port: u16) -> Remote {
    Remote {
        calling: "THORASCRIBE".parse().unwrap(),
        called: called.parse().unwrap(),
        host: "127.0.0.1".into(),
        port,
        tls: None,
    }
}

fn item(fixture: &Fixture) -> StoreItem {
    let bytes = std::fs::read(fixture.path()).unwrap();
    StoreItem {
        sop_class_uid: fixture.sop_class.clone(),
        instance_uid: fixture.instance.parse().unwrap(),
        transfer_syntax: TransferSyntax::from_uid(&fixture.transfer_syntax).unwrap(),
        path: fixture.path(),
        data_set_offset: 144 + u64::from(u32::from_le_bytes(bytes[140..144].try_into().unwrap())),
    }
}

fn contexts(items: &[StoreItem]) -> Vec<ProposedContext> {
    let mut contexts = Vec::new();
    for item in items {
        let context = ProposedContext {
            abstract_syntax: item.sop_class_uid.clone(),
            transfer_syntaxes: vec![item.transfer_syntax],
        };
        if !contexts.contains(&context) {
            contexts.push(context);
        }
    }
    contexts
}

async fn send(
    remote: &Remote,
    items: &[StoreItem],
    timers: Timers,
) -> Result<(Vec<Status>, Ended), RequestError> {
    let mut association = Requestor::connect(remote, &contexts(items), &timers).await?;
    let mut answers = Vec::new();
    for item in items {
        answers.push(association.store(item).await?);
    }
    Ok((answers, association.release().await))
}

#[test]
fn our_archive_and_dcmtks_get_every_byte() {
    let (runtime, folder) = (runtime(), TempDir::new().unwrap());
    let archive =
        runtime.block_on(Archive::start("ARCHIVE".parse().unwrap(), folder.path())).unwrap();
    let items: Vec<_> = fixtures().iter().map(item).collect();
    let to = remote("ARCHIVE", archive.address().port());
    let (answers, ended) = runtime.block_on(send(&to, &items, Timers::default())).unwrap();
    assert!(answers.iter().all(|status| status.is_success()), "{answers:?}");
    assert_eq!(ended, Ended::Released);
    for (fixture, file) in fixtures().iter().zip(archive.files()) {
        assert_eq!(data_set_of(&file), data_set_of(&fixture.path()), "{}", fixture.file);
    }
    runtime.block_on(archive.stop());

    let storescp = Storescp::start();
    let plain = item(fixture("cr-ap-implicit"));
    let to = remote("STORESCP", storescp.port());
    let (answers, ended) =
        runtime.block_on(send(&to, std::slice::from_ref(&plain), Timers::default())).unwrap();
    assert_eq!((answers[0], ended), (Status::SUCCESS, Ended::Released));
    let received: Vec<PathBuf> = storescp.received("CR");
    assert_eq!(received.len(), 1);
}

#[test]
fn orthanc_takes_what_it_accepts_on_one_association() {
    let orthanc = Orthanc::start();
    let items: Vec<_> = fixtures().iter().map(item).collect();
    let to = remote("ORTHANC", orthanc.port());
    let (stored, refused) = runtime().block_on(async {
        let timers = Timers::default();
        let mut association = Requestor::connect(&to, &contexts(&items), &timers).await.unwrap();
        let (mut stored, mut refused) = (0, Vec::new());
        for item in &items {
            match association.store(item).await {
                Ok(status) if status.is_stored() => stored += 1,
                Err(RequestError::NotAccepted { .. }) => refused.push(item.transfer_syntax),
                other => panic!("{}: {other:?}", item.path.display()),
            }
        }
        assert_eq!(association.release().await, Ended::Released);
        (stored, refused)
    });
    // Orthanc 1.10.1 knows all but high-throughput JPEG 2000.
    assert!(refused.iter().all(|syntax| syntax.uid().contains(".4.20")), "{refused:?}");
    assert_eq!(stored + refused.len(), items.len());
}

#[test]
fn what_the_peer_does_not_take_is_not_sent() {
    let (runtime, folder) = (runtime(), TempDir::new().unwrap());
    let mut offer = Offer::everything("ARCHIVE".parse().unwrap());
    offer.classes = vec![SopClass::BasicTextSr];
    let archive = runtime.block_on(Archive::start_with(offer, folder.path())).unwrap();
    let to = remote("ARCHIVE", archive.address().port());
    let image = item(fixture("dx-pa-explicit"));
    let sent = runtime.block_on(send(&to, &[image], Timers::default()));
    let error = sent.unwrap_err();
    assert!(matches!(error, RequestError::NotAccepted { .. }), "{error}");
    assert!(!error.is_transient() && error.to_string().contains("does not take Digital X-Ray"));
    assert!(error.to_string().ends_with("it does not take the SOP class"), "{error}");
    let mut offer = Offer::everything("ARCHIVE".parse().unwrap());
    offer.syntaxes = vec![TransferSyntax::ImplicitLittle];
    let folder = TempDir::new().unwrap();
    let plain = runtime.block_on(Archive::start_with(offer, folder.path())).unwrap();
    let to = remote("ARCHIVE", plain.address().port());
    let image = item(fixture("dx-pa-explicit"));
    let error = runtime.block_on(send(&to, &[image], Timers::default())).unwrap_err();
    assert!(error.to_string().contains("but not in this transfer syntax"), "{error}");
    let wrong = remote("ELSEWHERE", archive.address().port());
    let image = item(fixture("dx-pa-explicit"));
    let error = runtime.block_on(send(&wrong, &[image], Timers::default())).unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let closed = remote("NOBODY", super::super::support::process::free_port());
    let image = item(fixture("dx-pa-explicit"));
    let error = runtime.block_on(send(&closed, &[image], Timers::default())).unwrap_err();
    assert!(matches!(error, RequestError::Connect { .. }) && error.is_transient(), "{error}");
}

/// An archive that a test writes out: it answers the request, then does what `then` says.
fn archive(
    accept: AssociationAC,
    then: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (Remote, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        pdu(&mut stream).expect("a request");
        let mut bytes = Vec::new();
        dicom_ul::write_pdu(&mut bytes, &accept.into()).unwrap();
        stream.write_all(&bytes).unwrap();
        then(&mut stream);
    });
    (remote("ARCHIVE", port), thread)
}

fn accepting(id: u8, syntax: &str, max: u32) -> AssociationAC {
    AssociationAC {
        protocol_version: 1,
        calling_ae_title: "THORASCRIBE".into(),
        called_ae_title: "ARCHIVE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![PresentationContextResult {
            id,
            reason: PresentationContextResultReason::Acceptance,
            transfer_syntax: syntax.into(),
        }],
        user_variables: vec![UserVariableItem::MaxLength(max)],
    }
}

/// The next PDU: type and body; `None` at the end.
fn pdu(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).ok()?;
    Some((head[0], body))
}

/// Takes one C-STORE and answers Success; the lengths of its P-DATA.
fn take_object(stream: &mut TcpStream) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut command = None;
    while let Some((code, body)) = pdu(stream) {
        assert_eq!(code, 4);
        lengths.push(body.len());
        if body[5] == 3 {
            command = Some(Command::parse(&body[6..]).unwrap());
        } else if body[5] == 2 {
            break;
        }
    }
    let Some(Command::Request(request)) = command else { panic!() };
    assert_eq!(request.field, field::C_STORE);
    let response = request.response(Status::SUCCESS, None).encode();
    stream.write_all(&p_data(1, 3, &response)).unwrap();
    lengths
}

fn cr() -> StoreItem {
    let explicit = fixtures().iter().find(|f| f.transfer_syntax == EXPLICIT && f.sop_class == CR);
    item(explicit.unwrap())
}

fn attempt(to: &Remote, timers: Timers) -> Result<(Vec<Status>, Ended), RequestError> {
    runtime().block_on(send(to, &[cr()], timers))
}

#[test]
fn a_release_that_crosses_the_peers_own_is_finished() {
    let (to, thread) = archive(accepting(1, EXPLICIT, 0), |stream| {
        take_object(stream);
        assert_eq!(pdu(stream).unwrap().0, 5);
        // As if it had asked before our request came (PS3.8 §9.2.3, release collision).
        stream.write_all(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]).unwrap();
        assert_eq!(pdu(stream).unwrap().0, 6);
        stream.write_all(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0]).unwrap();
        assert_eq!(pdu(stream), None);
    });
    let (answers, ended) = attempt(&to, Timers::default()).unwrap();
    assert_eq!((answers, ended), (vec![Status::SUCCESS], Ended::Released));
    thread.join().unwrap();
}

#[test]
fn no_p_data_is_longer_than_the_peer_takes() {
    for (stated, wanted) in [(0, 131_072), (4_096, 4_096), (200_000_000, 131_072)] {
        let (to, thread) = archive(accepting(1, EXPLICIT, stated), move |stream| {
            let lengths = take_object(stream);
            let longest = lengths.into_iter().max().unwrap();
            assert!(longest <= wanted && longest > wanted - 8, "{longest} of {wanted}");
        });
        attempt(&to, Timers::default()).unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn an_acceptance_that_cannot_be_is_aborted() {
    for accept in [
        accepting(1, "1.2.840.10008.1.2.4.50", 0),
        accepting(3, EXPLICIT, 0),
        accepting(1, EXPLICIT, 5),
    ] {
        let (to, thread) = archive(accept, |stream| {
            assert_eq!(pdu(stream).map(|(code, _)| code), Some(7));
        });
        let error = attempt(&to, Timers::default()).unwrap_err();
        assert!(error.to_string().contains("protocol violated"), "{error}");
        thread.join().unwrap();
    }
}

#[test]
fn a_peer_that_falls_silent_or_vanishes_is_given_up_in_time() {
    let timers = Timers::uniform(Duration::from_secs(1));
    let started = Instant::now();
    let (to, thread) = archive(accepting(1, EXPLICIT, 0), |stream| while pdu(stream).is_some() {});
    let error = attempt(&to, timers).unwrap_err();
    assert!(error.to_string().contains("waiting for a response"), "{error}");
    thread.join().unwrap();
    // Reads nothing: the connection fills up within the data set.
    let (to, thread) = archive(accepting(1, EXPLICIT, 0), |stream| {
        let mut one = [0];
        stream.read_exact(&mut one).unwrap();
    });
    let error = attempt(&to, timers).unwrap_err();
    assert!(error.is_transient(), "{error}");
    thread.join().unwrap();
    assert!(started.elapsed() < Duration::from_secs(25));
}

#[test]
fn a_response_to_another_request_is_no_response() {
    let (to, thread) = archive(accepting(1, EXPLICIT, 0), |stream| {
        let mut command = None;
        while let Some((_, body)) = pdu(stream) {
            match body[5] {
                3 => command = Some(Command::parse(&body[6..]).unwrap()),
                2 => break,
                _ => {}
            }
        }
        let Some(Command::Request(request)) = command else { panic!() };
        let mut response = request.response(Status::SUCCESS, None);
        response.responded_to += 1;
        stream.write_all(&p_data(1, 3, &response.encode())).unwrap();
        assert_eq!(pdu(stream).map(|(code, _)| code), Some(7));
    });
    let error = attempt(&to, Timers::default()).unwrap_err();
    assert!(error.to_string().contains("not the response"), "{error}");
    thread.join().unwrap();
}
