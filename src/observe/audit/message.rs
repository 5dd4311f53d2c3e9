//! Events in the words of DICOM audit messages (PS3.15 §A.5.3).

use std::net::IpAddr;

use jiff::Timestamp;

use super::event::{Event, Peer, Person, Study};
use super::xml::Element;
use crate::vocabulary::{AeTitle, InstanceUid, SopClass};

/// A code of the DICOM terminology (PS3.16 Annex D), with its meaning.
type Code = (&'static str, &'static str);

const APPLICATION_ACTIVITY: Code = ("110100", "Application Activity");
const INSTANCES_ACCESSED: Code = ("110103", "DICOM Instances Accessed");
const INSTANCES_TRANSFERRED: Code = ("110104", "DICOM Instances Transferred");
const STUDY_DELETED: Code = ("110105", "DICOM Study Deleted");
const PROCEDURE_RECORD: Code = ("110111", "Procedure Record");
const QUERY: Code = ("110112", "Query");
const SECURITY_ALERT: Code = ("110113", "Security Alert");
const USER_AUTHENTICATION: Code = ("110114", "User Authentication");
const START: Code = ("110120", "Application Start");
const STOP: Code = ("110121", "Application Stop");
const LOGIN: Code = ("110122", "Login");
const LOGOUT: Code = ("110123", "Logout");
const NODE_AUTHENTICATION: Code = ("110126", "Node Authentication");
const SECURITY_CONFIGURATION: Code = ("110129", "Security Configuration");
const RECORDING_STOPPED: Code = ("110133", "Audit Recording Stopped");
const APPLICATION: Code = ("110150", "Application");
const DESTINATION: Code = ("110152", "Destination Role ID");
const SOURCE: Code = ("110153", "Source Role ID");
const STUDY_UID: Code = ("110180", "Study Instance UID");
const NODE_ID: Code = ("110182", "Node ID");

const SUCCESS: u8 = 0;
const MINOR_FAILURE: u8 = 4;
const SERIOUS_FAILURE: u8 = 8;

impl Event {
    /// The message, by the node of an AE title.
    pub(super) fn message(&self, at: Timestamp, node: &AeTitle) -> String {
        let (head, rest) = self.parts(node.as_str());
        assemble(head.with("EventDateTime", at.to_string()), rest, node)
    }

    fn parts(&self, node: &str) -> Parts {
        match self {
            Self::Started => activity(START, node),
            Self::Stopped => activity(STOP, node),
            Self::Reloaded { refused } => reloaded(refused.as_deref(), node),
            Self::Lost { count } => {
                let what = format!("{count} audit messages are lost: the log could not be written");
                alert(RECORDING_STOPPED, SERIOUS_FAILURE, &what, node)
            }
            Self::Accepted { caller, called, user } => accepted(caller, called, user.as_deref()),
            Self::Refused { caller, reason } => refused(caller, reason, node),
            Self::Received { sender, study, class, instance, known } => {
                let from = process(&sender.name(), Some(&sender.host), true, Some(SOURCE));
                let to = process(node, None, false, Some(DESTINATION));
                let head = plain(INSTANCES_TRANSFERRED, if *known { "R" } else { "C" });
                (head, study.objects([from, to], Some((*class, instance))))
            }
            Self::Sent { destination, study, class, instance } => {
                let from = process(node, None, true, Some(SOURCE));
                let (name, host) = (destination.name(), Some(destination.host.as_str()));
                let to = process(&name, host, false, Some(DESTINATION));
                let head = plain(INSTANCES_TRANSFERRED, "C");
                (head, study.objects([from, to], Some((*class, instance))))
            }
            Self::Drafted { study, model } => {
                let drafter = process(node, None, true, None).with("UserName", model);
                (plain(INSTANCES_ACCESSED, "C"), study.objects([drafter], None))
            }
            Self::Signed { who, study } => by(plain(INSTANCES_ACCESSED, "U"), who, study, node),
            Self::Viewed { who, study } => by(plain(INSTANCES_ACCESSED, "R"), who, study, node),
            Self::Listed { who, list } => listed(who, list, node),
            Self::Retried { who, study } => by(plain(PROCEDURE_RECORD, "U"), who, study, node),
            Self::Deleted { who: Some(who), study } => {
                by(plain(STUDY_DELETED, "D"), who, study, node)
            }
            Self::Deleted { who: None, study } => {
                let itself = process(node, None, true, None);
                (plain(STUDY_DELETED, "D"), study.objects([itself], None))
            }
            Self::SignIn { who, success } => {
                let outcome = if *success { SUCCESS } else { MINOR_FAILURE };
                authentication(LOGIN, outcome, who, node)
            }
            Self::SignOut { who } => authentication(LOGOUT, SUCCESS, who, node),
        }
    }
}

/// The event, and all that follows it.
type Parts = (Element, Vec<Element>);

fn activity(kind: Code, node: &str) -> Parts {
    let head = identification(APPLICATION_ACTIVITY, Some(kind), "E", SUCCESS);
    (head, vec![process(node, None, false, Some(APPLICATION))])
}

/// What the node says of itself.
fn alert(kind: Code, outcome: u8, what: &str, node: &str) -> Parts {
    let head = identification(SECURITY_ALERT, Some(kind), "E", outcome);
    (head, vec![process(node, None, true, None), alerting(node, what)])
}

fn reloaded(refused: Option<&str>, node: &str) -> Parts {
    let (outcome, what) = match refused {
        None => (
            SUCCESS,
            "peers, destinations, rules, routes, users and certificates are those of the \
             configuration as it is now"
                .to_owned(),
        ),
        Some(why) => (MINOR_FAILURE, format!("nothing of the configuration was taken over: {why}")),
    };
    alert(SECURITY_CONFIGURATION, outcome, &what, node)
}

fn accepted(caller: &Peer, called: &str, user: Option<&str>) -> Parts {
    let calling = process(&caller.name(), Some(&caller.host), true, None);
    let calling = user.into_iter().fold(calling, |calling, user| calling.with("UserName", user));
    let head = identification(USER_AUTHENTICATION, Some(LOGIN), "E", SUCCESS);
    (head, vec![calling, process(called, None, false, None)])
}

fn refused(caller: &Peer, reason: &str, node: &str) -> Parts {
    let head = identification(SECURITY_ALERT, Some(NODE_AUTHENTICATION), "E", MINOR_FAILURE);
    let reporting = process(node, None, true, None);
    let called = process(&caller.name(), Some(&caller.host), false, None);
    (head, vec![reporting, called, alerting(&caller.name(), reason)])
}

/// What a person does with a study.
fn by(head: Element, who: &Person, study: &Study, node: &str) -> Parts {
    (head, study.objects([person(who, None), process(node, None, false, None)], None))
}

fn listed(who: &Person, list: &str, node: &str) -> Parts {
    let asked = process(node, None, false, Some(DESTINATION));
    (plain(QUERY, "E"), vec![person(who, Some(SOURCE)), asked, query(list)])
}

fn authentication(kind: Code, outcome: u8, who: &Person, node: &str) -> Parts {
    let head = identification(USER_AUTHENTICATION, Some(kind), "E", outcome);
    (head, vec![person(who, None), process(node, None, false, None)])
}

fn plain(id: Code, action: &str) -> Element {
    identification(id, None, action, SUCCESS)
}

/// Puts the parts in the order of the schema: participants, source, objects.
fn assemble(head: Element, rest: Vec<Element>, node: &AeTitle) -> String {
    let (participants, objects): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|element| element.is("ActiveParticipant"));
    let source = Element::new("AuditSourceIdentification")
        .with("AuditSourceID", node.as_str())
        // Application server process.
        .holding(Element::new("AuditSourceTypeCode").with("csd-code", "4"));
    let message =
        participants.into_iter().fold(Element::new("AuditMessage").holding(head), Element::holding);
    let message = objects.into_iter().fold(message.holding(source), Element::holding);
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned();
    message.write(&mut out);
    out
}

fn coded(name: &'static str, (code, meaning): Code) -> Element {
    dicom_code(Element::new(name), (code, meaning))
}

fn dicom_code(element: Element, (code, meaning): Code) -> Element {
    element.with("csd-code", code).with("codeSystemName", "DCM").with("originalText", meaning)
}

fn dicom(code: Code) -> Element {
    coded("ParticipantObjectIDTypeCode", code)
}

fn identification(id: Code, kind: Option<Code>, action: &str, outcome: u8) -> Element {
    let element = Element::new("EventIdentification")
        .with("EventActionCode", action)
        .with("EventOutcomeIndicator", outcome.to_string())
        .holding(coded("EventID", id));
    kind.into_iter().fold(element, |element, kind| element.holding(coded("EventTypeCode", kind)))
}

/// A program; its AE title is both its ID and what PS3.15 calls an alternative one.
fn process(ae_title: &str, host: Option<&str>, requestor: bool, role: Option<Code>) -> Element {
    let element = Element::new("ActiveParticipant")
        .with("UserID", ae_title)
        .with("AlternativeUserID", format!("AETITLES={ae_title}"))
        .with("UserIsRequestor", requestor.to_string());
    let element = host.into_iter().fold(element, at);
    role.into_iter().fold(element, |element, role| element.holding(coded("RoleIDCode", role)))
}

fn person(who: &Person, role: Option<Code>) -> Element {
    let name = if who.user.is_empty() { &who.place } else { &who.user };
    let element =
        Element::new("ActiveParticipant").with("UserID", name).with("UserIsRequestor", "true");
    let element = at(element, &who.place);
    role.into_iter().fold(element, |element, role| element.holding(coded("RoleIDCode", role)))
}

/// What an alert is about.
fn alerting(subject: &str, what: &str) -> Element {
    object(subject, "2", "13", dicom(NODE_ID)).holding(
        Element::new("ParticipantObjectDetail")
            .with("type", "Alert Description")
            .with("value", base64(what.as_bytes())),
    )
}

/// What a list of studies was asked for by; the place of the name holds the query.
fn query(list: &str) -> Element {
    let id_type = foreign_code("12", "URI");
    Element::new("ParticipantObjectIdentification")
        .with("ParticipantObjectID", list.split('?').next().unwrap_or_default())
        .with("ParticipantObjectTypeCode", "2")
        .with("ParticipantObjectTypeCodeRole", "3")
        .holding(id_type)
        .holding(Element::new("ParticipantObjectQuery").text(&base64(list.as_bytes())))
}

/// A kind of ID of RFC 3881 §5.5.4.
fn foreign_code(code: &str, meaning: &str) -> Element {
    Element::new("ParticipantObjectIDTypeCode")
        .with("csd-code", code)
        .with("codeSystemName", "RFC-3881")
        .with("originalText", meaning)
}

/// Where a participant is: 1 a machine name, 2 an IP address.
fn at(element: Element, host: &str) -> Element {
    let kind = if host.parse::<IpAddr>().is_ok() { "2" } else { "1" };
    element.with("NetworkAccessPointID", host).with("NetworkAccessPointTypeCode", kind)
}

fn object(id: &str, kind: &str, role: &str, id_type: Element) -> Element {
    Element::new("ParticipantObjectIdentification")
        .with("ParticipantObjectID", id)
        .with("ParticipantObjectTypeCode", kind)
        .with("ParticipantObjectTypeCodeRole", role)
        .holding(id_type)
        .holding(Element::new("ParticipantObjectName").text(id))
}

impl Peer {
    fn name(&self) -> String {
        if self.ae_title.is_empty() { self.host.clone() } else { self.ae_title.clone() }
    }
}

impl Study {
    /// What follows an event on a study, or on an instance of it.
    fn objects(
        &self,
        participants: impl IntoIterator<Item = Element>,
        moved: Option<(SopClass, &InstanceUid)>,
    ) -> Vec<Element> {
        participants.into_iter().chain([self.element(moved), self.patient()]).collect()
    }

    fn element(&self, moved: Option<(SopClass, &InstanceUid)>) -> Element {
        // A system object in the role of a report.
        let element = object(self.uid.as_str(), "2", "3", dicom(STUDY_UID));
        moved.into_iter().fold(element, |element, (class, instance)| {
            let class = Element::new("SOPClass")
                .with("UID", class.uid())
                .with("NumberOfInstances", "1")
                .holding(Element::new("Instance").with("UID", instance.as_str()));
            element.holding(Element::new("ParticipantObjectDescription").holding(class))
        })
    }

    fn patient(&self) -> Element {
        object(self.patient_id.reveal(), "1", "1", foreign_code("2", "Patient Number"))
    }
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let group = a << 16 | b << 8 | c;
        for at in 0..4 {
            let digit = (group >> (18 - 6 * at) & 63) as usize;
            let digit = DIGITS.get(digit).copied().unwrap_or(b'=');
            out.push(if at > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
