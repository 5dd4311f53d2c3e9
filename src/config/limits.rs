//! What a peer may choose at most, beside `[receive]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::file::Settings;
use super::value::{Checker, Keys, SIZE, SPAN};
use crate::vocabulary::{ByteSize, Span};

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a P-DATA.
    pub pdu: u32,
    /// Bytes of an association request.
    pub request: u32,
    /// Presentation contexts of a request.
    pub contexts: usize,
    /// User information items of a request.
    pub user_items: usize,
    /// Bytes that an association brings.
    pub association_bytes: ByteSize,
    /// How long an association lasts.
    pub association_time: Span,
    /// From the connection to the whole request; `None`: `receive.timeout`.
    pub request_timeout: Option<Span>,
    /// Between two messages; `None`: `receive.timeout`.
    pub idle_timeout: Option<Span>,
    /// Between two arrivals of bytes within a message; `None`: `receive.timeout`.
    pub read_timeout: Option<Span>,
    /// For one write; `None`: `receive.timeout`.
    pub write_timeout: Option<Span>,
    /// From the last PDU to the closing of the connection.
    pub artim: Span,
    /// Bytes a second that a data set must bring.
    pub min_rate: ByteSize,
    /// Sequences within sequences.
    pub depth: usize,
    /// Elements of a data set's top level.
    pub elements: usize,
    /// Elements, items and fragments of a data set in all.
    pub headers: usize,
    /// Bytes of a value other than pixel data.
    pub value: ByteSize,
    /// Bytes of a deflated data set once it is inflated.
    pub inflated: ByteSize,
    /// Columns, and rows, of an image.
    pub side: u32,
    /// Pixels of an image.
    pub pixels: u64,
    /// Memory that decoding one image may take.
    pub decode_memory: ByteSize,
    /// Time that decoding one image may take.
    pub decode_timeout: Span,
}

/// Longer than any use; sums with the present must not overflow.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// A kibibyte.
pub(super) const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Checker<'_> {
    pub(super) fn limits(&mut self, settings: &Settings) -> Option<Limits> {
        let keys = Keys::of_table(settings, "limits")?;
        let pdu = self.size(&keys, "pdu", 4 * KIB..=MIB);
        let request = self.size(&keys, "request", 4 * KIB..=MIB);
        let contexts = self.count(&keys, "contexts", 1, 128);
        let user_items = self.count(&keys, "user_items", 1, 65_536);
        let association_bytes = self.size(&keys, "association_bytes", KIB..=u64::MAX);
        let association_time = self.span(&keys, "association_time");
        let request_timeout = self.own_span(&keys, "request_timeout");
        let idle_timeout = self.own_span(&keys, "idle_timeout");
        let read_timeout = self.own_span(&keys, "read_timeout");
        let write_timeout = self.own_span(&keys, "write_timeout");
        let artim = self.span(&keys, "artim");
        let min_rate = self.size(&keys, "min_rate", 0..=MIB);
        let depth = self.count(&keys, "depth", 1, 64);
        let elements = self.count(&keys, "elements", 1, 65_536);
        let headers = self.count(&keys, "headers", 1, 1_000_000);
        let value = self.size(&keys, "value", KIB..=1024 * MIB);
        let inflated = self.size(&keys, "inflated", MIB..=512 * MIB);
        let side = self.count(&keys, "side", 1, 16_384);
        let pixels = self.count(&keys, "pixels", 1, 100_000_000);
        let decode_memory = self.size(&keys, "decode_memory", 256 * MIB..=u64::MAX);
        let decode_timeout = self.span(&keys, "decode_timeout");
        Some(Limits {
            pdu: u32::try_from(pdu?.0).ok()?,
            request: u32::try_from(request?.0).ok()?,
            contexts: contexts?,
            user_items: user_items?,
            association_bytes: association_bytes?,
            association_time: association_time?,
            request_timeout: request_timeout?.0,
            idle_timeout: idle_timeout?.0,
            read_timeout: read_timeout?.0,
            write_timeout: write_timeout?.0,
            artim: artim?,
            min_rate: min_rate?,
            depth: depth?,
            elements: elements?,
            headers: headers?,
            value: value?,
            inflated: inflated?,
            side: u32::try_from(side?).ok()?,
            pixels: pixels? as u64,
            decode_memory: decode_memory?,
            decode_timeout: decode_timeout?,
        })
    }

    /// A size of this range.
    pub(super) fn size(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<ByteSize> {
        let size: ByteSize = self.parsed(keys, key, SIZE)?;
        if range.contains(&size.0) {
            return Some(size);
        }
        let (least, most) = (ByteSize(*range.start()), ByteSize(*range.end()));
        let (bound, why) = if size < least {
            (least, format!("{size} is less than {least}"))
        } else {
            (most, format!("{size} is more than {most}"))
        };
        self.complain(keys, key, &why, &format!("write \"{bound}\""));
        None
    }

    /// A duration that is not 0.
    fn span(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Span> {
        let span: Span = self.parsed(keys, key, SPAN)?;
        if span.0.is_zero() || span.0 > LONGEST {
            let why = format!("{span} is no time to wait: more than 0, at most 365d");
            self.complain(keys, key, &why, "write for example \"30s\"");
            return None;
        }
        Some(span)
    }

    /// The same, or nothing: then another key counts.
    fn own_span(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Own> {
        if self.text(keys, key)?.is_empty() {
            return Some(Own(None));
        }
        self.span(keys, key).map(|span| Own(Some(span)))
    }
}

/// A duration of its own, or none.
struct Own(Option<Span>);
