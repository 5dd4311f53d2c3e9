//! Bytes of text against the character set that is declared for them.

use dicom_core::VR;
use dicom_dictionary_std::tags;
use encoding_rs::Encoding;

use super::Findings;
use crate::object::StoredObject;
use crate::report::sr::copied;
use crate::report::sr::view::View;

/// Holds the copied names and texts of the top level against Specific Character Set.
pub(super) fn check(report: &StoredObject, findings: &mut Findings) {
    let charset = charset(report);
    let text = |vr| matches!(vr, VR::PN | VR::LO | VR::SH | VR::ST | VR::LT | VR::UT | VR::UC);
    for copied in copied::ATTRIBUTES.iter().filter(|copied| text(copied.vr)) {
        let value = report.bytes(copied.tag).unwrap_or_default();
        if !fits(value, charset) {
            findings.add(copied.tag.to_string(), "holds bytes that its character set does not");
        }
    }
}

/// Specific Character Set as it stands.
pub(super) fn charset(report: &StoredObject) -> &[u8] {
    report.bytes(tags::SPECIFIC_CHARACTER_SET).unwrap_or_default()
}

/// A content item's text: printable characters and line ends of its character set.
pub(super) fn check_value(place: &str, value: &[u8], charset: &[u8], findings: &mut Findings) {
    if value.iter().all(u8::is_ascii_whitespace) {
        findings.add(place, "the text is empty");
    }
    // No multi-byte set that is used without escape sequences has control bytes inside characters.
    let control = |byte: &u8| matches!(byte, 0..=9 | 11 | 12 | 14..=31 | 127);
    if let Some(control) = value.iter().find(|byte| control(byte)) {
        findings.add(place, format!("the text holds the control character {control:#04x}"));
    }
    if !fits(value, charset) {
        findings.add(place, "the text holds bytes that its character set does not");
    }
}

/// Whether the bytes can be text of the set at all.
pub(super) fn fits(value: &[u8], charset: &[u8]) -> bool {
    match first(charset) {
        b"" | b"ISO_IR 6" if !charset.contains(&b'\\') => value.is_ascii(),
        b"ISO_IR 192" => std::str::from_utf8(value).is_ok(),
        b"GB18030" => decodes(encoding_rs::GB18030, value),
        b"GBK" => decodes(encoding_rs::GBK, value),
        // Sets of single bytes, and those with code extensions: every byte may stand.
        _ => true,
    }
}

/// How many characters a value has; bytes where that is the same or cannot be told simply.
pub(super) fn length(value: &[u8], charset: &[u8]) -> usize {
    let counted = |set: &'static Encoding| {
        set.decode_without_bom_handling_and_without_replacement(value)
            .map_or(value.len(), |text| text.chars().count())
    };
    match first(charset) {
        b"ISO_IR 192" => counted(encoding_rs::UTF_8),
        b"GB18030" | b"GBK" => counted(encoding_rs::GB18030),
        _ => value.len(),
    }
}

fn decodes(set: &'static Encoding, value: &[u8]) -> bool {
    set.decode_without_bom_handling_and_without_replacement(value).is_some()
}

fn first(charset: &[u8]) -> &[u8] {
    charset.split(|byte| *byte == b'\\').next().unwrap_or_default().trim_ascii()
}
