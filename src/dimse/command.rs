//! Command sets (PS3.7 §6.3, Annex E) ⇄ typed requests and responses.
//!
//! Read by an own walk: group 0000 in implicit VR little endian, tags ascending, each length
//! within the set. A general reader would allocate what an eight-byte set states (4 GB).

use super::status::Status;
use crate::vocabulary::Uid;

/// The largest command set that is read.
pub const MAX_COMMAND: usize = 1 << 16;

const CLASS: u16 = 0x0002;
const REQUESTED_CLASS: u16 = 0x0003;
const FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const RESPONDED_TO: u16 = 0x0120;
const PRIORITY: u16 = 0x0700;
const DATA_SET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const ERROR_COMMENT: u16 = 0x0902;
const INSTANCE: u16 = 0x1000;
const REQUESTED_INSTANCE: u16 = 0x1001;
const EVENT_TYPE: u16 = 0x1002;
const ACTION_TYPE: u16 = 0x1008;

/// No data set follows; every other value says that one does.
const NO_DATA_SET: u16 = 0x0101;

/// Command fields of requests (PS3.7 Table E.1-1); a response has the top bit set.
pub mod field {
    /// C-STORE.
    pub const C_STORE: u16 = 0x0001;
    /// C-ECHO.
    pub const C_ECHO: u16 = 0x0030;
    /// N-EVENT-REPORT.
    pub const N_EVENT_REPORT: u16 = 0x0100;
    /// N-ACTION.
    pub const N_ACTION: u16 = 0x0130;
    /// C-CANCEL, which has no response.
    pub const C_CANCEL: u16 = 0x0FFF;
    /// Set in responses.
    pub const RESPONSE: u16 = 0x8000;

    /// The verb of a request.
    pub const fn name(field: u16) -> &'static str {
        match field {
            C_STORE => "C-STORE",
            0x0010 => "C-GET",
            0x0020 => "C-FIND",
            0x0021 => "C-MOVE",
            C_ECHO => "C-ECHO",
            N_EVENT_REPORT => "N-EVENT-REPORT",
            0x0110 => "N-GET",
            0x0120 => "N-SET",
            N_ACTION => "N-ACTION",
            0x0140 => "N-CREATE",
            0x0150 => "N-DELETE",
            C_CANCEL => "C-CANCEL",
            _ => "an unknown verb",
        }
    }
}

/// A command set as it came, its elements found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A peer wants something.
    Request(Request),
    /// A peer answers.
    Response(Response),
}

/// A request; UIDs are the peer's text and not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which verb (see [`field`]).
    pub field: u16,
    /// Names the request in its response.
    pub message_id: u16,
    /// Affected (of N-ACTION: requested) SOP class UID.
    pub class: Option<String>,
    /// Affected (of N-ACTION: requested) SOP instance UID.
    pub instance: Option<String>,
    /// Event type of N-EVENT-REPORT, action type of N-ACTION.
    pub kind: Option<u16>,
    /// Whether a data set follows.
    pub has_data: bool,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The verb's field with [`field::RESPONSE`] set.
    pub field: u16,
    /// The request's message ID.
    pub responded_to: u16,
    /// Affected SOP class UID.
    pub class: Option<String>,
    /// Affected SOP instance UID.
    pub instance: Option<String>,
    /// The outcome.
    pub status: Status,
    /// The peer's words on a failure (sent by us: why).
    pub comment: Option<String>,
    /// Whether a data set follows.
    pub has_data: bool,
}

/// Why a command set cannot be read; the association is aborted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An element reaches past the end, or bytes are left over.
    #[error("command set is cut off at byte {0}")]
    Cut(usize),
    /// Another group than 0000.
    #[error("element of group {0:04X} in a command set")]
    Group(u16),
    /// Tags out of order or twice.
    #[error("command element (0000,{0:04X}) is out of order")]
    Order(u16),
    /// An element that must be there is not.
    #[error("command element (0000,{0:04X}) is missing")]
    Missing(u16),
    /// A number that is not two bytes.
    #[error("command element (0000,{element:04X}) has {length} bytes instead of two")]
    Number {
        /// Which element.
        element: u16,
        /// What it has.
        length: usize,
    },
}

struct Elements<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Elements<'a> {
    fn walk(set: &'a [u8]) -> Result<Self, CommandError> {
        let mut found: Vec<(u16, &[u8])> = Vec::new();
        let mut rest = set;
        while !rest.is_empty() {
            let cut = CommandError::Cut(set.len() - rest.len());
            let Some((&[g0, g1, e0, e1, l0, l1, l2, l3], tail)) = rest.split_first_chunk::<8>()
            else {
                return Err(cut);
            };
            let group = u16::from_le_bytes([g0, g1]);
            let element = u16::from_le_bytes([e0, e1]);
            if group != 0 {
                return Err(CommandError::Group(group));
            }
            if found.last().is_some_and(|(last, _)| *last >= element) {
                return Err(CommandError::Order(element));
            }
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            let Some((value, tail)) =
                usize::try_from(length).ok().and_then(|length| tail.split_at_checked(length))
            else {
                return Err(cut);
            };
            found.push((element, value));
            rest = tail;
        }
        Ok(Self(found))
    }

    fn find(&self, element: u16) -> Option<&'a [u8]> {
        self.0.iter().find(|(tag, _)| *tag == element).map(|(_, value)| *value)
    }

    fn number(&self, element: u16) -> Result<u16, CommandError> {
        let value = self.find(element).ok_or(CommandError::Missing(element))?;
        match value {
            &[low, high] => Ok(u16::from_le_bytes([low, high])),
            _ => Err(CommandError::Number { element, length: value.len() }),
        }
    }

    fn text(&self, element: u16) -> Option<String> {
        let value = String::from_utf8_lossy(self.find(element)?).into_owned();
        let value = value.trim_end_matches(['\0', ' ']).to_owned();
        (!value.is_empty()).then_some(value)
    }
}

impl Command {
    /// Reads a whole command set.
    pub fn parse(set: &[u8]) -> Result<Self, CommandError> {
        let elements = Elements::walk(set)?;
        let field = elements.number(FIELD)?;
        let has_data = elements.number(DATA_SET_TYPE)? != NO_DATA_SET;
        let class = elements.text(CLASS);
        let instance = elements.text(INSTANCE);
        if field & field::RESPONSE == 0 {
            let id = if field == field::C_CANCEL { RESPONDED_TO } else { MESSAGE_ID };
            let message_id = elements.number(id)?;
            let class = class.or_else(|| elements.text(REQUESTED_CLASS));
            let instance = instance.or_else(|| elements.text(REQUESTED_INSTANCE));
            let kind = [EVENT_TYPE, ACTION_TYPE].map(|element| elements.number(element).ok());
            let kind = kind.into_iter().flatten().next();
            return Ok(Self::Request(Request {
                field,
                message_id,
                class,
                instance,
                kind,
                has_data,
            }));
        }
        Ok(Self::Response(Response {
            field,
            responded_to: elements.number(RESPONDED_TO)?,
            class,
            instance,
            status: Status(elements.number(STATUS)?),
            comment: elements.text(ERROR_COMMENT),
            has_data,
        }))
    }

    /// Whether a data set follows.
    pub fn has_data(&self) -> bool {
        match self {
            Self::Request(request) => request.has_data,
            Self::Response(response) => response.has_data,
        }
    }
}

impl Request {
    /// The bytes on the wire; priority medium where the verb has one.
    pub fn encode(&self) -> Vec<u8> {
        let mut set = Set::default();
        let action = self.field == field::N_ACTION;
        set.uid(if action { REQUESTED_CLASS } else { CLASS }, self.class.as_deref());
        set.number(FIELD, self.field);
        set.number(MESSAGE_ID, self.message_id);
        if self.field == field::C_STORE {
            set.number(PRIORITY, 0);
        }
        set.number(DATA_SET_TYPE, if self.has_data { 0 } else { NO_DATA_SET });
        set.uid(if action { REQUESTED_INSTANCE } else { INSTANCE }, self.instance.as_deref());
        if let Some(kind) = self.kind {
            set.number(if action { ACTION_TYPE } else { EVENT_TYPE }, kind);
        }
        set.finish()
    }

    /// The response to it, without a data set. UIDs that are none are not given back.
    pub fn response(&self, status: Status, comment: Option<String>) -> Response {
        let uid = |text: &Option<String>| text.clone().filter(|t| t.parse::<Uid>().is_ok());
        Response {
            field: self.field | field::RESPONSE,
            responded_to: self.message_id,
            class: uid(&self.class),
            instance: uid(&self.instance),
            status,
            comment,
            has_data: false,
        }
    }
}

impl Response {
    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut set = Set::default();
        set.uid(CLASS, self.class.as_deref());
        set.number(FIELD, self.field);
        set.number(RESPONDED_TO, self.responded_to);
        set.number(DATA_SET_TYPE, if self.has_data { 0 } else { NO_DATA_SET });
        set.number(STATUS, self.status.0);
        if let Some(comment) = &self.comment {
            // LO: at most 64 characters, no backslash.
            let text: String =
                comment.chars().filter(|c| matches!(c, ' '..='[' | ']'..='~')).take(64).collect();
            set.padded(ERROR_COMMENT, text.as_bytes(), b' ');
        }
        set.uid(INSTANCE, self.instance.as_deref());
        set.finish()
    }
}

#[derive(Default)]
struct Set(Vec<u8>);

impl Set {
    fn padded(&mut self, element: u16, value: &[u8], pad: u8) {
        let odd = value.len() % 2;
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&element.to_le_bytes());
        self.0.extend_from_slice(&u32::try_from(value.len() + odd).unwrap_or(0).to_le_bytes());
        self.0.extend_from_slice(value);
        if odd == 1 {
            self.0.push(pad);
        }
    }

    fn number(&mut self, element: u16, value: u16) {
        self.padded(element, &value.to_le_bytes(), 0);
    }

    fn uid(&mut self, element: u16, value: Option<&str>) {
        if let Some(value) = value {
            self.padded(element, value.as_bytes(), 0);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut whole = vec![0, 0, 0, 0, 4, 0, 0, 0];
        whole.extend_from_slice(&u32::try_from(self.0.len()).unwrap_or(0).to_le_bytes());
        whole.extend_from_slice(&self.0);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Request {
        Request {
            field: field::C_STORE,
            message_id: 7,
            class: Some("1.2.840.10008.5.1.4.1.1.1".into()),
            instance: Some("1.2.3".into()),
            kind: None,
            has_data: true,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let request = store();
        assert_eq!(Command::parse(&request.encode()), Ok(Command::Request(request.clone())));
        for field in [field::N_ACTION, field::N_EVENT_REPORT] {
            let request = Request { field, kind: Some(1), ..store() };
            assert_eq!(Command::parse(&request.encode()), Ok(Command::Request(request.clone())));
        }
        let response = request.response(Status::MISMATCH, Some("UIDs differ \\ \n!".into()));
        let Ok(Command::Response(read)) = Command::parse(&response.encode()) else { panic!() };
        assert_eq!(read.comment.as_deref(), Some("UIDs differ  !"));
        assert_eq!((read.status, read.responded_to), (Status::MISMATCH, 7));
    }

    #[test]
    fn every_prefix_and_every_lie_is_an_error() {
        let whole = store().encode();
        // Without its last element, an instance UID of six bytes, it is a set too.
        for end in (1..whole.len()).filter(|end| end + 14 != whole.len()) {
            assert!(Command::parse(&whole[..end]).is_err(), "{end}");
        }
        let lie = [0, 0, 2, 0, 0xFE, 0xFF, 0xFF, 0xFF];
        assert_eq!(Command::parse(&lie), Err(CommandError::Cut(0)));
        let mut twice = whole.clone();
        twice.extend_from_slice(&whole[12..]);
        assert_eq!(Command::parse(&twice), Err(CommandError::Order(2)));
        let mut group = whole;
        group.extend_from_slice(&[8, 0, 8, 0, 0, 0, 0, 0]);
        assert_eq!(Command::parse(&group), Err(CommandError::Group(8)));
        let odd = [0, 0, 0, 1, 3, 0, 0, 0, 1, 0, 0];
        assert_eq!(Command::parse(&odd), Err(CommandError::Number { element: 0x0100, length: 3 }));
    }
}
