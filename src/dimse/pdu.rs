//! Framing of protocol data units (PS3.8 §9.3) and the bounds of each.
//!
//! The header is read here, and its length held against what the type allows before anything is
//! read on. Requests and acceptances are tidied (unknown items dropped, padding cut) and then
//! parsed by dicom-ul, which refuses them otherwise; the four-byte PDUs are parsed here, since
//! dicom-ul refuses codes outside the standard and a rejection is one whatever its reason.

use std::fmt;

use dicom_ul::pdu::{AssociationAC, AssociationRQ};

use crate::vocabulary::Excerpt;

/// Bytes of a PDU header.
pub const HEADER: usize = 6;
/// The largest P-DATA that this node states: what DCMTK sends at most.
pub const MAX_DATA: u32 = 131_072;
/// The largest A-ASSOCIATE PDU: 128 contexts of many syntaxes take 45 kB.
const MAX_ASSOCIATE: u32 = 1 << 20;
/// Most presentation contexts that a PDU may hold: the odd numbers of a byte.
const MAX_CONTEXTS: usize = 128;
/// Most syntaxes of one context.
const MAX_SYNTAXES: usize = 128;

/// What a peer's PDUs may be; what is beyond is refused before it is read, or before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a P-DATA.
    pub data: u32,
    /// Bytes of an A-ASSOCIATE-RQ or -AC.
    pub associate: u32,
    /// Items of its user information.
    pub user_items: usize,
}

impl Default for Bounds {
    /// 128 KiB, 1 MiB, 256 items.
    fn default() -> Self {
        Self { data: MAX_DATA, associate: MAX_ASSOCIATE, user_items: 256 }
    }
}

/// The type of a PDU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A-ASSOCIATE-RQ.
    Request,
    /// A-ASSOCIATE-AC.
    Accept,
    /// A-ASSOCIATE-RJ.
    Reject,
    /// P-DATA-TF.
    Data,
    /// A-RELEASE-RQ.
    ReleaseRequest,
    /// A-RELEASE-RP.
    ReleaseReply,
    /// A-ABORT.
    Abort,
}

/// A PDU other than P-DATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pdu {
    /// A-ASSOCIATE-RQ.
    Request(Box<AssociationRQ>),
    /// A-ASSOCIATE-AC.
    Accept(Box<AssociationAC>),
    /// A-ASSOCIATE-RJ.
    Reject(Rejection),
    /// A-RELEASE-RQ.
    ReleaseRequest,
    /// A-RELEASE-RP.
    ReleaseReply,
    /// A-ABORT.
    Abort(Abort),
}

/// Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// 1 permanent, 2 transient.
    pub result: u8,
    /// 1 service user, 2 provider (ACSE), 3 provider (presentation).
    pub source: u8,
    /// By source.
    pub reason: u8,
}

/// Source and reason of an A-ABORT (PS3.8 Table 9-26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Abort {
    /// 0 service user, 2 service provider.
    pub source: u8,
    /// Of the provider.
    pub reason: u8,
}

/// The head of a presentation data value (PS3.8 §9.3.5.1, §E.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PdvHeader {
    /// Bytes of the fragment that follow.
    pub length: u32,
    /// The presentation context.
    pub context: u8,
    /// Part of a command set, else of a data set.
    pub command: bool,
    /// The last fragment of its set.
    pub last: bool,
}

/// What is wrong with a PDU, and so which A-ABORT answers it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// No type of PS3.8: a peer that does not speak DICOM.
    #[error("PDU type 0x{0:02X} is none of DICOM{hint}", hint = spoken(*.0))]
    Type(u8),
    /// Longer than its type may be.
    #[error("{kind:?} PDU of {length} bytes, at most {limit}")]
    Length {
        /// Which PDU.
        kind: Kind,
        /// What its header says.
        length: u32,
        /// What is allowed.
        limit: u32,
    },
    /// An item that does not fit, or a field that is missing.
    #[error("{0:?} PDU cannot be parsed: {1}")]
    Content(Kind, String),
    /// More items of a kind than are taken.
    #[error("{kind:?} PDU with more than {limit} {what}")]
    TooMany {
        /// Which PDU.
        kind: Kind,
        /// Which items.
        what: &'static str,
        /// What is allowed.
        limit: usize,
    },
    /// A PDV that does not fit into its PDU.
    #[error("presentation data value of {length} bytes where {room} are left")]
    Pdv {
        /// What its header says.
        length: u32,
        /// What the PDU has left.
        room: u32,
    },
}

/// Which protocol a first byte belongs to.
const fn spoken(first: u8) -> &'static str {
    match first {
        0x16 => ": the peer speaks TLS to a port without TLS",
        0x15 => ": the peer answers with a TLS alert",
        b'A'..=b'Z' => ": the peer seems to speak HTTP",
        _ => "",
    }
}

impl PduError {
    /// The A-ABORT that answers it.
    pub const fn abort(&self) -> Abort {
        match self {
            Self::Type(_) => Abort::UNRECOGNIZED_PDU,
            _ => Abort::INVALID_PARAMETER,
        }
    }
}

impl Rejection {
    /// The called AE title is not this node's.
    pub const CALLED_AE: Self = Self { result: 1, source: 1, reason: 7 };
    /// The calling AE title (or its address) is not a configured peer.
    pub const CALLING_AE: Self = Self { result: 1, source: 1, reason: 3 };
    /// Another application context than DICOM's.
    pub const APPLICATION_CONTEXT: Self = Self { result: 1, source: 1, reason: 2 };
    /// Nothing proposed.
    pub const NO_REASON: Self = Self { result: 1, source: 1, reason: 1 };
    /// Version 1 of the protocol is not among the peer's.
    pub const PROTOCOL_VERSION: Self = Self { result: 1, source: 2, reason: 2 };
    /// No slot is free now.
    pub const CONGESTION: Self = Self { result: 2, source: 3, reason: 1 };
    /// The request has more of something than is taken.
    pub const TOO_MANY: Self = Self { result: 1, source: 3, reason: 2 };
    /// The peer's address has all its slots in use.
    pub const LIMIT: Self = Self { result: 2, source: 3, reason: 2 };

    /// Whether the same request may be accepted later.
    pub const fn is_transient(self) -> bool {
        self.result == 2
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match (self.source, self.reason) {
            (1 | 2, 1) => "no reason given",
            (1, 2) => "application context name not supported",
            (1, 3) => "calling AE title not recognized",
            (1, 7) => "called AE title not recognized",
            (2, 2) => "protocol version not supported",
            (3, 1) => "temporary congestion",
            (3, 2) => "local limit exceeded",
            _ => "reason unknown",
        };
        let result = if self.is_transient() { "transient" } else { "permanent" };
        write!(f, "{reason} ({result}, {}/{}/{})", self.result, self.source, self.reason)
    }
}

impl Abort {
    /// The application wants no more.
    pub const USER: Self = Self { source: 0, reason: 0 };
    /// The provider gives no reason (a deadline passed).
    pub const PROVIDER: Self = Self { source: 2, reason: 0 };
    /// A PDU type that is none.
    pub const UNRECOGNIZED_PDU: Self = Self { source: 2, reason: 1 };
    /// A PDU that does not belong here.
    pub const UNEXPECTED_PDU: Self = Self { source: 2, reason: 2 };
    /// A value that cannot be.
    pub const INVALID_PARAMETER: Self = Self { source: 2, reason: 6 };
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match (self.source, self.reason) {
            (0, _) => "by the application",
            (2, 1) => "unrecognized PDU",
            (2, 2) => "unexpected PDU",
            (2, 4) => "unrecognized PDU parameter",
            (2, 5) => "unexpected PDU parameter",
            (2, 6) => "invalid PDU parameter value",
            _ => "no reason given",
        };
        write!(f, "{reason} ({}/{})", self.source, self.reason)
    }
}

/// Type and length of a PDU, the length within the bound of the type.
pub fn header(bytes: [u8; HEADER], bounds: &Bounds) -> Result<(Kind, u32), PduError> {
    let [code, _, a, b, c, d] = bytes;
    let length = u32::from_be_bytes([a, b, c, d]);
    let (kind, limit) = match code {
        1 => (Kind::Request, bounds.associate),
        2 => (Kind::Accept, bounds.associate),
        3 => (Kind::Reject, 4),
        4 => (Kind::Data, bounds.data),
        5 => (Kind::ReleaseRequest, 4),
        6 => (Kind::ReleaseReply, 4),
        7 => (Kind::Abort, 4),
        other => return Err(PduError::Type(other)),
    };
    if length > limit {
        return Err(PduError::Length { kind, length, limit });
    }
    Ok((kind, length))
}

/// The head of a PDV; `room` is what its PDU has left, head included.
pub fn pdv_header(bytes: [u8; 6], room: u32) -> Result<PdvHeader, PduError> {
    let [a, b, c, d, context, control] = bytes;
    let length = u32::from_be_bytes([a, b, c, d]);
    if length < 2 || length > room.saturating_sub(4) {
        return Err(PduError::Pdv { length, room });
    }
    Ok(PdvHeader { length: length - 2, context, command: control & 1 != 0, last: control & 2 != 0 })
}

/// Heads of a P-DATA PDU with one PDV of `length` bytes.
pub fn data_header(context: u8, command: bool, last: bool, length: u32) -> [u8; 12] {
    let [a, b, c, d] = (length + 6).to_be_bytes();
    let [e, f, g, h] = (length + 2).to_be_bytes();
    [4, 0, a, b, c, d, e, f, g, h, context, u8::from(command) | u8::from(last) << 1]
}

/// Parses the body of a whole PDU other than P-DATA.
pub fn decode(kind: Kind, body: &[u8], bounds: &Bounds) -> Result<Pdu, PduError> {
    let short = |what: &str| PduError::Content(kind, what.to_owned());
    match kind {
        Kind::Request | Kind::Accept => decode_associate(kind, body, bounds),
        Kind::Reject => match body {
            &[_, result, source, reason] => Ok(Pdu::Reject(Rejection { result, source, reason })),
            _ => Err(short("four bytes wanted")),
        },
        Kind::Abort => match body {
            &[_, _, source, reason] => Ok(Pdu::Abort(Abort { source, reason })),
            _ => Err(short("four bytes wanted")),
        },
        Kind::ReleaseRequest => Ok(Pdu::ReleaseRequest),
        Kind::ReleaseReply => Ok(Pdu::ReleaseReply),
        Kind::Data => Err(short("P-DATA is streamed")),
    }
}

fn decode_associate(kind: Kind, body: &[u8], bounds: &Bounds) -> Result<Pdu, PduError> {
    let content = |what: String| PduError::Content(kind, what);
    let tidy = tidy(body, bounds).map_err(|untidy| match untidy {
        Untidy::Cut => content("an item is cut off".to_owned()),
        Untidy::TooMany(what, limit) => PduError::TooMany { kind, what, limit },
    })?;
    let code = if kind == Kind::Request { 1 } else { 2 };
    let length = u32::try_from(tidy.len()).unwrap_or(u32::MAX);
    let mut whole = vec![code, 0];
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(&tidy);
    match dicom_ul::read_pdu(whole.as_slice(), bounds.associate, false) {
        Ok(Some(dicom_ul::Pdu::AssociationRQ(request))) if kind == Kind::Request => {
            Ok(Pdu::Request(Box::new(request)))
        }
        Ok(Some(dicom_ul::Pdu::AssociationAC(accept))) if kind == Kind::Accept => {
            Ok(Pdu::Accept(Box::new(accept)))
        }
        Ok(_) => Err(content("an item is cut off".to_owned())),
        Err(error) => Err(content(Excerpt(&error.to_string()).to_string())),
    }
}

/// A PDU other than P-DATA as bytes.
pub fn encode(pdu: &Pdu) -> Result<Vec<u8>, PduError> {
    let fixed = |code, [a, b, c, d]: [u8; 4]| Ok(vec![code, 0, 0, 0, 0, 4, a, b, c, d]);
    let associate = |kind, pdu| {
        let mut bytes = Vec::with_capacity(1024);
        dicom_ul::write_pdu(&mut bytes, &pdu)
            .map_err(|error| PduError::Content(kind, error.to_string()))?;
        Ok(bytes)
    };
    match pdu {
        Pdu::Request(request) => {
            associate(Kind::Request, dicom_ul::Pdu::AssociationRQ((**request).clone()))
        }
        Pdu::Accept(accept) => {
            associate(Kind::Accept, dicom_ul::Pdu::AssociationAC((**accept).clone()))
        }
        Pdu::Reject(r) => fixed(3, [0, r.result, r.source, r.reason]),
        Pdu::ReleaseRequest => fixed(5, [0; 4]),
        Pdu::ReleaseReply => fixed(6, [0; 4]),
        Pdu::Abort(a) => fixed(7, [0, 0, a.source, a.reason]),
    }
}

/// Fixed fields in front of the items of an A-ASSOCIATE PDU.
const FIXED: usize = 68;

/// Why the items of a PDU are not given on.
enum Untidy {
    /// One does not fit.
    Cut,
    /// There are too many of these.
    TooMany(&'static str, usize),
}

/// Counts items of one kind.
struct Count(&'static str, usize, usize);

impl Count {
    fn of(what: &'static str, limit: usize) -> Self {
        Self(what, limit, 0)
    }

    fn one_more(&mut self) -> Result<(), Untidy> {
        self.2 += 1;
        if self.2 > self.1 { Err(Untidy::TooMany(self.0, self.1)) } else { Ok(()) }
    }
}

/// Drops items that PS3.8 does not name, and cuts the padding of UIDs.
fn tidy(body: &[u8], bounds: &Bounds) -> Result<Vec<u8>, Untidy> {
    let (fixed, items) = body.split_at_checked(FIXED).ok_or(Untidy::Cut)?;
    let mut out = fixed.to_vec();
    let mut contexts = Count::of("presentation contexts", MAX_CONTEXTS);
    let mut user_items = Count::of("user information items", bounds.user_items);
    each_item(items, |code, content| {
        match code {
            0x10 => push_item(&mut out, code, unpadded(content)),
            0x20 => {
                contexts.one_more()?;
                push_item(&mut out, code, &tidy_context(content)?);
            }
            0x21 => {
                contexts.one_more()?;
                push_item(&mut out, code, &tidy_result(content)?);
            }
            0x50 => push_item(&mut out, code, &tidy_user(content, &mut user_items)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(out)
}

fn tidy_context(content: &[u8]) -> Result<Vec<u8>, Untidy> {
    let (head, items) = content.split_at_checked(4).ok_or(Untidy::Cut)?;
    let mut out = head.to_vec();
    let mut syntaxes = Count::of("syntaxes of a presentation context", MAX_SYNTAXES);
    each_item(items, |code, value| {
        if matches!(code, 0x30 | 0x40) {
            syntaxes.one_more()?;
            push_item(&mut out, code, unpadded(value));
        }
        Ok(())
    })?;
    Ok(out)
}

/// Of a refused context neither the syntax nor the exact reason counts, and some leave it out.
fn tidy_result(content: &[u8]) -> Result<Vec<u8>, Untidy> {
    let (&[id, _, result, _], items) = content.split_first_chunk::<4>().ok_or(Untidy::Cut)?;
    if result == 0 {
        return tidy_context(content);
    }
    let mut out = vec![id, 0, result.min(4), 0];
    let mut syntax: &[u8] = &[];
    each_item(items, |code, value| {
        if code == 0x40 {
            syntax = unpadded(value);
        }
        Ok(())
    })?;
    push_item(&mut out, 0x40, syntax);
    Ok(out)
}

fn tidy_user(content: &[u8], items: &mut Count) -> Result<Vec<u8>, Untidy> {
    let mut out = Vec::with_capacity(content.len());
    each_item(content, |code, value| {
        items.one_more()?;
        match code {
            0x51 if value.len() == 4 => push_item(&mut out, code, value),
            0x52 | 0x55 => push_item(&mut out, code, unpadded(value)),
            0x54 => push_item(&mut out, code, value),
            0x58 if matches!(value.first(), Some(1..=5)) => push_item(&mut out, code, value),
            _ => {}
        }
        Ok(())
    })?;
    Ok(out)
}

fn unpadded(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or(value)
}

fn push_item(out: &mut Vec<u8>, code: u8, content: &[u8]) {
    out.extend_from_slice(&[code, 0]);
    out.extend_from_slice(&u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(content);
}

/// Calls `visit` for each item (type, reserved byte, 16-bit length, content) until one does not
/// fit, or is one too many.
fn each_item<'a>(
    mut bytes: &'a [u8],
    mut visit: impl FnMut(u8, &'a [u8]) -> Result<(), Untidy>,
) -> Result<(), Untidy> {
    while !bytes.is_empty() {
        let (&[code, _, high, low], rest) = bytes.split_first_chunk::<4>().ok_or(Untidy::Cut)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (content, rest) = rest.split_at_checked(length).ok_or(Untidy::Cut)?;
        visit(code, content)?;
        bytes = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_bound() {
        let head = |code, length: u32| {
            let [a, b, c, d] = length.to_be_bytes();
            header([code, 0, a, b, c, d], &Bounds::default())
        };
        assert_eq!(head(1, 1 << 20), Ok((Kind::Request, 1 << 20)));
        for (code, length) in [(1, (1 << 20) + 1), (3, 5), (4, MAX_DATA + 1), (7, u32::MAX)] {
            let error = head(code, length).unwrap_err();
            assert_eq!(error.abort(), Abort::INVALID_PARAMETER, "{code}");
        }
        // The first letters of HTTP, and a TLS handshake.
        for code in [0, 8, b'G', 0x16] {
            assert_eq!(head(code, 4).unwrap_err().abort(), Abort::UNRECOGNIZED_PDU);
        }
    }

    #[test]
    fn a_fragment_fits_its_pdu() {
        let head = |length: u32, room| {
            let [a, b, c, d] = length.to_be_bytes();
            pdv_header([a, b, c, d, 1, 3], room)
        };
        assert_eq!(head(2, 6), Ok(PdvHeader { length: 0, context: 1, command: true, last: true }));
        for (length, room) in [(0, 100), (1, 100), (97, 100), (u32::MAX, 100), (2, 3)] {
            assert!(head(length, room).is_err(), "{length} in {room}");
        }
        assert!(head(96, 100).is_ok());
    }

    fn item(code: u8, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_item(&mut out, code, content);
        out
    }

    fn request() -> Vec<u8> {
        let mut body = vec![0, 1, 0, 0];
        body.extend_from_slice(b"NODE            MODALITY        ");
        body.extend_from_slice(&[0; 32]);
        body.extend(item(0x10, b"1.2.840.10008.3.1.1.1\0"));
        body.extend(item(0x77, b"an item of tomorrow"));
        let mut context = vec![1, 0, 0, 0];
        context.extend(item(0x30, b"1.2.840.10008.1.1\0"));
        context.extend(item(0x40, b"1.2.840.10008.1.2\0"));
        context.extend(item(0x41, b"?"));
        body.extend(item(0x20, &context));
        let mut user = item(0x51, &[0, 0, 64, 0]);
        user.extend(item(0x53, &[0, 1, 0, 1]));
        user.extend(item(0x58, &[9, 0, 0, 0]));
        user.extend(item(0x5A, &[0; 40]));
        body.extend(item(0x50, &user));
        body
    }

    fn decode(kind: Kind, body: &[u8]) -> Result<Pdu, PduError> {
        super::decode(kind, body, &Bounds::default())
    }

    #[test]
    fn a_request_with_padding_and_unknown_items_is_read() {
        let Ok(Pdu::Request(request)) = decode(Kind::Request, &request()) else { panic!() };
        assert_eq!(request.application_context_name, "1.2.840.10008.3.1.1.1");
        assert_eq!(request.presentation_contexts[0].abstract_syntax, "1.2.840.10008.1.1");
        assert_eq!(request.presentation_contexts[0].transfer_syntaxes, ["1.2.840.10008.1.2"]);
        assert_eq!(request.user_variables.len(), 1);
    }

    #[test]
    fn no_cut_and_no_changed_byte_panics() {
        let whole = request();
        for end in 0..whole.len() {
            drop(decode(Kind::Request, &whole[..end]));
            drop(decode(Kind::Accept, &whole[..end]));
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut changed = whole.clone();
                changed[at] = value;
                drop(decode(Kind::Request, &changed));
                drop(decode(Kind::Accept, &changed));
            }
        }
    }

    #[test]
    fn a_refused_context_needs_no_syntax_and_may_give_any_reason() {
        let mut body = vec![0, 1, 0, 0];
        body.extend_from_slice(&[b' '; 64]);
        body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
        body.extend(item(0x21, &[1, 0, 9, 0]));
        let Ok(Pdu::Accept(accept)) = decode(Kind::Accept, &body) else { panic!() };
        assert_eq!(accept.presentation_contexts.len(), 1);
    }
}
