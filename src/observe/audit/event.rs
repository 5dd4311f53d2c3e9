//! What is audited; [`super::message`] says it in the form of PS3.15 §A.5.3.

use std::net::IpAddr;

use super::host;
use crate::vocabulary::{InstanceUid, PatientText, SopClass, StudyUid};

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its AE title, as it says; empty where it said none.
    pub ae_title: String,
    /// Its address or host name.
    pub host: String,
}

/// Somebody who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name; empty where nobody signs in.
    pub user: String,
    /// The address, or the name of the machine.
    pub place: String,
}

impl Person {
    /// At a browser.
    pub fn at(user: &str, client: IpAddr) -> Self {
        Self { user: user.to_owned(), place: client.to_string() }
    }

    /// Whoever runs this program.
    pub fn of_process() -> Self {
        Self { user: host::user(), place: host::name() }
    }
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
    /// The configuration was read anew.
    Reloaded {
        /// Why nothing of it was taken, if so.
        refused: Option<String>,
    },
    /// Messages were lost: for too long the local copy could not be written.
    Lost {
        /// How many.
        count: u64,
    },
    /// A caller has an association.
    Accepted {
        /// Who called.
        caller: Peer,
        /// By which title.
        called: String,
        /// The name of the user identity that was given.
        user: Option<String>,
    },
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
        who: Person,
        /// What.
        study: Study,
    },
    /// A person looked at a study, or took something of it away.
    Viewed {
        /// Who.
        who: Person,
        /// What.
        study: Study,
    },
    /// A person looked at a list of studies.
    Listed {
        /// Who.
        who: Person,
        /// The list, as its address has it: what was searched for.
        list: String,
    },
    /// A person had a study tried again.
    Retried {
        /// Who.
        who: Person,
        /// What.
        study: Study,
    },
    /// The objects of a study were deleted.
    Deleted {
        /// By whom; `None`: by the node itself, in its time.
        who: Option<Person>,
        /// What.
        study: Study,
    },
    /// A person signed in, or failed to.
    SignIn {
        /// Who, by the name that was typed.
        who: Person,
        /// Whether name and password fit.
        success: bool,
    },
    /// A person signed out.
    SignOut {
        /// Who.
        who: Person,
    },
}
