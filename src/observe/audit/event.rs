//! What is audited, and the message that says so (PS3.15 §A.5.3).

use std::net::IpAddr;

use jiff::Timestamp;

use super::xml::Element;
use crate::vocabulary::{AeTitle, InstanceUid, PatientText, SopClass, StudyUid};

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its AE title, as it says; empty where it said none.
    pub ae_title: String,
    /// Its address or host name.
    pub host: String,
}

/// Whose data an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Study {
    /// The study.
    pub uid: StudyUid,
    /// The patient's ID.
    pub patient_id: PatientText,
}

/// Something that an audit asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The node takes associations.
    Started,
    /// The node stops.
    Stopped,
    /// A caller was turned away: by its title, address, certificate or user identity.
    Refused {
        /// Who called.
        caller: Peer,
        /// Why.
        reason: String,
    },
    /// An object came.
    Received {
        /// Who sent it.
        sender: Peer,
        /// What it belongs to.
        study: Study,
        /// Its class.
        class: SopClass,
        /// Its UID.
        instance: InstanceUid,
        /// Whether it was here before.
        known: bool,
    },
    /// A destination acknowledged an object.
    Sent {
        /// Who has it.
        destination: Peer,
        /// What it belongs to.
        study: Study,
        /// Its class.
        class: SopClass,
        /// Its UID.
        instance: InstanceUid,
    },
    /// A draft was made.
    Drafted {
        /// Of what.
        study: Study,
        /// The model's name.
        model: String,
    },
    /// A person signed a report.
    Signed {
        /// Who.
        user: String,
        /// From where.
        client: IpAddr,
        /// What.
        study: Study,
    },
    /// A person looked at a study.
    Viewed {
        /// Who; empty where nobody signs in.
        user: String,
        /// From where.
        client: IpAddr,
        /// What.
        study: Study,
    },
    /// A person signed in, or failed to.
    SignIn {
        /// The name that was typed.
        user: String,
        /// From where.
        client: IpAddr,
        /// Whether name and password fit.
        success: bool,
    },
    /// A person signed out.
    SignOut {
        /// Who.
        user: String,
        /// From where.
        client: IpAddr,
    },
}

/// A code of the DICOM terminology (PS3.16 Annex D), with its meaning.
type Code = (&'static str, &'static str);

const APPLICATION_ACTIVITY: Code = ("110100", "Application Activity");
const INSTANCES_ACCESSED: Code = ("110103", "DICOM Instances Accessed");
const INSTANCES_TRANSFERRED: Code = ("110104", "DICOM Instances Transferred");
const SECURITY_ALERT: Code = ("110113", "Security Alert");
const USER_AUTHENTICATION: Code = ("110114", "User Authentication");
const START: Code = ("110120", "Application Start");
const STOP: Code = ("110121", "Application Stop");
const LOGIN: Code = ("110122", "Login");
const LOGOUT: Code = ("110123", "Logout");
const NODE_AUTHENTICATION: Code = ("110126", "Node Authentication");
const APPLICATION: Code = ("110150", "Application");
const DESTINATION: Code = ("110152", "Destination Role ID");
const SOURCE: Code = ("110153", "Source Role ID");
const STUDY_UID: Code = ("110180", "Study Instance UID");
const NODE_ID: Code = ("110182", "Node ID");

const SUCCESS: u8 = 0;
const MINOR_FAILURE: u8 = 4;

impl Event {
    /// The message, by the node of an AE title.
    pub(super) fn message(&self, at: Timestamp, node: &AeTitle) -> String {
        let own = |role| process(node.as_str(), None, false, role);
        let (head, rest) = match self {
            Self::Started | Self::Stopped => {
                let kind = if *self == Self::Started { START } else { STOP };
                let head = identification(APPLICATION_ACTIVITY, Some(kind), "E", SUCCESS);
                (head, vec![own(Some(APPLICATION))])
            }
            Self::Refused { caller, reason } => {
                let head =
                    identification(SECURITY_ALERT, Some(NODE_AUTHENTICATION), "E", MINOR_FAILURE);
                let reporting = process(node.as_str(), None, true, None);
                let called = process(&caller.name(), Some(&caller.host), false, None);
                let subject = object(&caller.name(), "2", "13", dicom(NODE_ID)).holding(
                    Element::new("ParticipantObjectDetail")
                        .with("type", "Alert Description")
                        .with("value", base64(reason.as_bytes())),
                );
                (head, vec![reporting, called, subject])
            }
            Self::Received { sender, study, class, instance, known } => {
                let action = if *known { "R" } else { "C" };
                let head = identification(INSTANCES_TRANSFERRED, None, action, SUCCESS);
                let from = process(&sender.name(), Some(&sender.host), true, Some(SOURCE));
                let moved = study.element(Some((*class, instance)));
                (head, vec![from, own(Some(DESTINATION)), moved, study.patient()])
            }
            Self::Sent { destination, study, class, instance } => {
                let head = identification(INSTANCES_TRANSFERRED, None, "C", SUCCESS);
                let from = process(node.as_str(), None, true, Some(SOURCE));
                let (name, host) = (destination.name(), Some(destination.host.as_str()));
                let to = process(&name, host, false, Some(DESTINATION));
                let moved = study.element(Some((*class, instance)));
                (head, vec![from, to, moved, study.patient()])
            }
            Self::Drafted { study, model } => {
                let head = identification(INSTANCES_ACCESSED, None, "C", SUCCESS);
                let drafter = process(node.as_str(), None, true, None).with("UserName", model);
                (head, vec![drafter, study.element(None), study.patient()])
            }
            Self::Signed { user, client, study } => {
                let head = identification(INSTANCES_ACCESSED, None, "U", SUCCESS);
                let who = person(user, *client);
                (head, vec![who, own(None), study.element(None), study.patient()])
            }
            Self::Viewed { user, client, study } => {
                let head = identification(INSTANCES_ACCESSED, None, "R", SUCCESS);
                let who = person(user, *client);
                (head, vec![who, own(None), study.element(None), study.patient()])
            }
            Self::SignIn { user, client, success } => {
                let outcome = if *success { SUCCESS } else { MINOR_FAILURE };
                let head = identification(USER_AUTHENTICATION, Some(LOGIN), "E", outcome);
                (head, vec![person(user, *client), own(None)])
            }
            Self::SignOut { user, client } => {
                let head = identification(USER_AUTHENTICATION, Some(LOGOUT), "E", SUCCESS);
                (head, vec![person(user, *client), own(None)])
            }
        };
        assemble(head.with("EventDateTime", at.to_string()), rest, node)
    }
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

fn person(user: &str, client: IpAddr) -> Element {
    let client = client.to_string();
    let name = if user.is_empty() { client.as_str() } else { user };
    let element =
        Element::new("ActiveParticipant").with("UserID", name).with("UserIsRequestor", "true");
    at(element, &client)
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
        let id_type = Element::new("ParticipantObjectIDTypeCode")
            .with("csd-code", "2")
            .with("codeSystemName", "RFC-3881")
            .with("originalText", "Patient Number");
        object(self.patient_id.reveal(), "1", "1", id_type)
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
