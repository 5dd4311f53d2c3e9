//! The structure check: without recursion, over bytes that may say anything.
//!
//! A stack of open sequences and items replaces recursion; each header's length is held against
//! its parent and the bytes that are there before anything is believed (PS3.5 §7).

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::index::{Index, Node};
use crate::vocabulary::TransferSyntax;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_DELIMITER: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_DELIMITER: Tag = Tag(0xFFFE, 0xE0DD);
const UNDEFINED: u32 = 0xFFFF_FFFF;

/// What a data set may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences within sequences.
    pub depth: usize,
    /// Elements of the top level.
    pub elements: usize,
    /// Headers in all: elements, items and fragments.
    pub headers: usize,
    /// Bytes of a value that is neither pixel data nor a sequence.
    pub value: usize,
    /// Bytes of an inflated data set.
    pub inflated: usize,
}

impl Default for Limits {
    /// What this program is made for at most; a node may take less.
    fn default() -> Self {
        Self {
            depth: 64,
            elements: 65_536,
            headers: 1_000_000,
            value: 1 << 30,
            inflated: 512 << 20,
        }
    }
}

/// How headers and numbers are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
}

impl Coding {
    /// The coding of a data set, once inflated.
    pub(super) const fn of(syntax: TransferSyntax) -> Self {
        match syntax {
            TransferSyntax::ImplicitLittle => Self::ImplicitLittle,
            TransferSyntax::ExplicitBig => Self::ExplicitBig,
            _ => Self::ExplicitLittle,
        }
    }

    pub(super) const fn is_big(self) -> bool {
        matches!(self, Self::ExplicitBig)
    }

    pub(super) const fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.is_big() { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(super) const fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.is_big() { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Where and why a data set breaks the rules of PS3.5.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub struct Malformed {
    /// Bytes from the start of the data set (inflated, where it was deflated).
    pub offset: usize,
    /// The rule.
    pub reason: Reason,
}

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The bytes end, or the parent ends, within a header.
    #[error("an element header is cut")]
    Cut,
    /// Tags must ascend within a data set, each once.
    #[error("{tag} does not come after {after}: tags must ascend")]
    Order {
        /// The element.
        tag: Tag,
        /// The one before it.
        after: Tag,
    },
    /// Command and file meta elements have no place in a data set.
    #[error("{0} has no place in a data set")]
    Group(Tag),
    /// The VR is not two upper-case letters.
    #[error("{0} has no readable VR")]
    Vr(Tag),
    /// The value would end beyond its parent or the data set.
    #[error("{tag} states {length} bytes, {left} are left")]
    Length {
        /// The element.
        tag: Tag,
        /// What it states.
        length: u32,
        /// Bytes left in its parent.
        left: usize,
    },
    /// The value is longer than this node takes.
    #[error("{tag} has {length} bytes, this node takes {limit}")]
    Value {
        /// The element.
        tag: Tag,
        /// Its bytes.
        length: u32,
        /// What is allowed.
        limit: usize,
    },
    /// Only sequences, UN and encapsulated pixel data may have an undefined length.
    #[error("{0} must not have an undefined length")]
    Undefined(Tag),
    /// An item or a delimiter stands where it cannot.
    #[error("a stray {0}")]
    Stray(Tag),
    /// Something other than an item stands in a sequence.
    #[error("{0} stands where an item should")]
    NotAnItem(Tag),
    /// A delimiter with a length.
    #[error("the delimiter {0} has a length")]
    DelimiterLength(Tag),
    /// A sequence or item of undefined length never ends.
    #[error("a sequence or item of undefined length has no delimiter")]
    NoDelimiter,
    /// Too deep.
    #[error("sequences are nested more than {0} deep")]
    Depth(usize),
    /// Too many elements in the top level.
    #[error("the top level has more than {0} elements")]
    Elements(usize),
    /// Too many headers.
    #[error("there are more than {0} elements and items")]
    Headers(usize),
    /// The basic offset table is missing or not a list of 32-bit numbers.
    #[error("the basic offset table is missing or not a multiple of four bytes")]
    OffsetTable,
    /// A fragment of pixel data with an odd or undefined length.
    #[error("a pixel data fragment has an odd or undefined length")]
    Fragment,
    /// Encapsulated pixel data without a fragment.
    #[error("the pixel data have no fragments")]
    NoFragments,
    /// Pixel data are native in an encapsulated transfer syntax, or the other way round.
    #[error("the pixel data are not encoded as the transfer syntax says")]
    Encapsulation,
    /// Pixel data without the attributes that say what they are.
    #[error("{0} is missing or cannot be, with pixel data in the object")]
    PixelAttribute(&'static str),
    /// Native pixel data shorter than the attributes say.
    #[error("the pixel data have {found} bytes, {expected} are needed")]
    PixelLength {
        /// By Rows, Columns, Samples per Pixel, Bits Allocated and Number of Frames.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

/// Checks the structure of a data set (inflated already) and gives the places of its elements.
pub(super) fn scan(
    bytes: &[u8],
    syntax: TransferSyntax,
    limits: &Limits,
) -> Result<Index, Malformed> {
    let coding = Coding::of(syntax);
    let root = Open {
        node: None,
        kind: Kind::DataSet,
        undefined: false,
        limit: bytes.len(),
        coding,
        last: None,
    };
    let mut scanner = Scanner {
        bytes,
        limits,
        encapsulated: syntax.is_encapsulated(),
        position: 0,
        elements: 0,
        depth: 0,
        stack: vec![root],
        index: Index::default(),
    };
    match scanner.run() {
        Ok(()) => Ok(scanner.index),
        Err(reason) => Err(Malformed { offset: scanner.position, reason }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The top level or an item: holds elements.
    DataSet,
    /// Holds items.
    Sequence,
    /// Encapsulated pixel data: holds the offset table and fragments.
    Fragments,
}

/// A sequence, item or fragment list that has begun.
#[derive(Debug, Clone, Copy)]
struct Open {
    node: Option<usize>,
    kind: Kind,
    undefined: bool,
    /// Where it must end at the latest: its own end, or its parent's.
    limit: usize,
    coding: Coding,
    last: Option<Tag>,
}

/// A header as read.
struct Header {
    tag: Tag,
    vr: VR,
    length: u32,
    size: u8,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    encapsulated: bool,
    position: usize,
    elements: usize,
    depth: usize,
    stack: Vec<Open>,
    index: Index,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), Reason> {
        while let Some(&open) = self.stack.last() {
            if self.position == open.limit {
                if open.undefined {
                    return Err(Reason::NoDelimiter);
                }
                self.close(self.position);
                continue;
            }
            match open.kind {
                Kind::DataSet => self.element(open)?,
                Kind::Sequence => self.item(open)?,
                Kind::Fragments => self.fragment(open)?,
            }
        }
        Ok(())
    }

    /// The next element of a data set.
    fn element(&mut self, open: Open) -> Result<(), Reason> {
        let tag = self.tag(open)?;
        if tag == ITEM_DELIMITER && open.undefined {
            return self.delimiter(open, tag);
        }
        match tag.group() {
            0xFFFE => return Err(Reason::Stray(tag)),
            0x0000 | 0x0002 => return Err(Reason::Group(tag)),
            _ => {}
        }
        if let Some(after) = open.last
            && tag <= after
        {
            return Err(Reason::Order { tag, after });
        }
        if let Some(frame) = self.stack.last_mut() {
            frame.last = Some(tag);
        }
        if self.stack.len() == 1 {
            self.elements += 1;
            if self.elements > self.limits.elements {
                return Err(Reason::Elements(self.limits.elements));
            }
        }
        let header = self.header(open, tag)?;
        if header.length == UNDEFINED {
            return self.undefined(open, &header);
        }
        let end = self.end(open, &header)?;
        let place = self.push(open.coding, &header, end)?;
        if header.vr == VR::SQ {
            self.open(Open {
                node: Some(place),
                kind: Kind::Sequence,
                undefined: false,
                limit: end,
                last: None,
                ..open
            })
        } else {
            if tag == tags::PIXEL_DATA && self.stack.len() == 1 && self.encapsulated {
                return Err(Reason::Encapsulation);
            }
            let limit = self.limits.value;
            if tag.group() != 0x7FE0 && end - self.position > limit {
                return Err(Reason::Value { tag, length: header.length, limit });
            }
            self.position = end;
            Ok(())
        }
    }

    /// An element of undefined length.
    fn undefined(&mut self, open: Open, header: &Header) -> Result<(), Reason> {
        let (kind, coding) = match (open.coding, header.vr) {
            (Coding::ExplicitLittle, VR::OB | VR::OW) if header.tag == tags::PIXEL_DATA => {
                if !self.encapsulated {
                    return Err(Reason::Encapsulation);
                }
                (Kind::Fragments, open.coding)
            }
            _ if header.tag.group() == 0x7FE0 => return Err(Reason::Undefined(header.tag)),
            (Coding::ImplicitLittle, _) | (_, VR::SQ) => (Kind::Sequence, open.coding),
            // A sequence of unknown VR is in implicit little endian (PS3.5 §6.2.2 note 4, CP-246).
            (_, VR::UN) => (Kind::Sequence, Coding::ImplicitLittle),
            _ => return Err(Reason::Undefined(header.tag)),
        };
        let place = self.push(open.coding, header, self.position)?;
        self.open(Open { node: Some(place), kind, undefined: true, coding, last: None, ..open })
    }

    /// The next item of a sequence, or its end.
    fn item(&mut self, open: Open) -> Result<(), Reason> {
        let tag = self.tag(open)?;
        if tag == SEQUENCE_DELIMITER && open.undefined {
            return self.delimiter(open, tag);
        }
        if tag != ITEM {
            return Err(Reason::NotAnItem(tag));
        }
        let header = self.item_header(open)?;
        let undefined = header.length == UNDEFINED;
        let limit = if undefined { open.limit } else { self.end(open, &header)? };
        let place = self.push(open.coding, &header, limit)?;
        self.open(Open {
            node: Some(place),
            kind: Kind::DataSet,
            undefined,
            limit,
            last: None,
            ..open
        })
    }

    /// The next fragment of encapsulated pixel data, or their end (PS3.5 §A.4).
    fn fragment(&mut self, open: Open) -> Result<(), Reason> {
        let tag = self.tag(open)?;
        let seen = open.node.map_or(0, |place| self.index.nodes.len() - place - 1);
        if tag == SEQUENCE_DELIMITER {
            return match seen {
                0 => Err(Reason::OffsetTable),
                1 => Err(Reason::NoFragments),
                _ => self.delimiter(open, tag),
            };
        }
        if tag != ITEM {
            return Err(Reason::NotAnItem(tag));
        }
        let header = self.item_header(open)?;
        if header.length == UNDEFINED || header.length % 2 != 0 {
            return Err(Reason::Fragment);
        }
        if seen == 0 && header.length % 4 != 0 {
            return Err(Reason::OffsetTable);
        }
        let end = self.end(open, &header)?;
        self.push(open.coding, &header, end)?;
        self.position = end;
        Ok(())
    }

    fn delimiter(&mut self, open: Open, tag: Tag) -> Result<(), Reason> {
        let length = self.chunk::<4>(4, open.limit).map(|b| open.coding.u32(b))?;
        if length != 0 {
            return Err(Reason::DelimiterLength(tag));
        }
        let end = self.position;
        self.position += 8;
        self.close(end);
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Reason> {
        if open.kind == Kind::Sequence {
            self.depth += 1;
            if self.depth > self.limits.depth {
                return Err(Reason::Depth(self.limits.depth));
            }
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self, end: usize) {
        let next = self.index.nodes.len();
        if let Some(open) = self.stack.pop() {
            if open.kind == Kind::Sequence {
                self.depth -= 1;
            }
            if let Some(node) = open.node.and_then(|place| self.index.nodes.get_mut(place)) {
                node.end = end;
                node.next = next;
                node.undefined = open.undefined;
            }
        }
    }

    fn push(&mut self, coding: Coding, header: &Header, end: usize) -> Result<usize, Reason> {
        let place = self.index.nodes.len();
        if place >= self.limits.headers {
            return Err(Reason::Headers(self.limits.headers));
        }
        self.index.nodes.push(Node {
            tag: header.tag,
            vr: header.vr,
            coding,
            header: header.size,
            undefined: false,
            start: self.position,
            end,
            next: place + 1,
        });
        Ok(place)
    }

    /// Where a value of defined length ends.
    fn end(&self, open: Open, header: &Header) -> Result<usize, Reason> {
        let left = open.limit.saturating_sub(self.position);
        match usize::try_from(header.length) {
            Ok(length) if length <= left => Ok(self.position + length),
            _ => Err(Reason::Length { tag: header.tag, length: header.length, left }),
        }
    }

    /// `N` bytes at a distance from the position, within the parent.
    fn chunk<const N: usize>(&self, ahead: usize, limit: usize) -> Result<[u8; N], Reason> {
        let from = self.position.saturating_add(ahead);
        let within = self.bytes.get(from..limit).and_then(<[u8]>::first_chunk::<N>);
        within.copied().ok_or(Reason::Cut)
    }

    fn tag(&self, open: Open) -> Result<Tag, Reason> {
        let [a, b, c, d] = self.chunk::<4>(0, open.limit)?;
        Ok(Tag(open.coding.u16([a, b]), open.coding.u16([c, d])))
    }

    fn item_header(&mut self, open: Open) -> Result<Header, Reason> {
        let length = self.chunk::<4>(4, open.limit).map(|b| open.coding.u32(b))?;
        self.position += 8;
        Ok(Header { tag: ITEM, vr: VR::UN, length, size: 8 })
    }

    /// Reads the rest of an element's header and steps behind it (PS3.5 §7.1).
    fn header(&mut self, open: Open, tag: Tag) -> Result<Header, Reason> {
        if open.coding == Coding::ImplicitLittle {
            let length = self.chunk::<4>(4, open.limit).map(|b| open.coding.u32(b))?;
            self.position += 8;
            return Ok(Header { tag, vr: dictionary_vr(tag), length, size: 8 });
        }
        let letters = self.chunk::<2>(4, open.limit)?;
        if !letters.iter().all(u8::is_ascii_uppercase) {
            return Err(Reason::Vr(tag));
        }
        // VRs that are yet to come have the long form (PS3.5 §6.2 note), and are read as UN.
        let vr = VR::from_binary(letters).unwrap_or(VR::UN);
        if has_short_form(vr) {
            let length = self.chunk::<2>(6, open.limit).map(|b| open.coding.u16(b))?;
            self.position += 8;
            return Ok(Header { tag, vr, length: length.into(), size: 8 });
        }
        let length = self.chunk::<4>(8, open.limit).map(|b| open.coding.u32(b))?;
        self.position += 12;
        Ok(Header { tag, vr, length, size: 12 })
    }
}

/// The VR of an element that states none.
pub(super) fn dictionary_vr(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// Whether an explicit header has 16 bits for the length (PS3.5 §7.1.2).
pub(crate) const fn has_short_form(vr: VR) -> bool {
    use VR::{AE, AS, AT, CS, DA, DS, DT, FD, FL, IS, LO, LT, PN, SH, SL, SS, ST, TM, UI, UL, US};
    matches!(
        vr,
        AE | AS
            | AT
            | CS
            | DA
            | DS
            | DT
            | FD
            | FL
            | IS
            | LO
            | LT
            | PN
            | SH
            | SL
            | SS
            | ST
            | TM
            | UI
            | UL
            | US
    )
}
