//! File meta information: preamble, prefix and group 0002 (PS3.10 §7.1).

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::scan::has_short_form;

const PREAMBLE: usize = 128;
/// Group 0002 may hold private information; this much of it is enough.
const LARGEST: usize = 1 << 20;

/// Why a file has no readable file meta information.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// No `DICM` after the preamble.
    #[error("not a DICOM file: no DICM prefix at byte 128")]
    Prefix,
    /// An element of group 0002 is cut or longer than the file.
    #[error("the file meta information is cut or malformed at byte {0}")]
    Malformed(usize),
    /// Larger than any that is known.
    #[error("the file meta information is larger than 1 MiB")]
    TooLarge,
    /// Nothing says how the data set is encoded.
    #[error("the file meta information has no Transfer Syntax UID (0002,0010)")]
    NoTransferSyntax,
}

/// What the node needs of a file's meta information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Transfer Syntax UID, without padding.
    pub transfer_syntax: String,
    /// Where the data set begins, in bytes.
    pub data_set_offset: usize,
}

/// Reads the meta information at the head of a file.
///
/// A wrong group length is tolerated: what is in group 0002 belongs to it, unless an element ends
/// where the group length says that the group does.
pub fn parse(file: &[u8]) -> Result<FileMeta, MetaError> {
    if file.get(PREAMBLE..PREAMBLE + 4) != Some(b"DICM") {
        return Err(MetaError::Prefix);
    }
    let mut position = PREAMBLE + 4;
    let mut stated_end = None;
    let mut transfer_syntax = None;
    while Some(position) != stated_end {
        let Some(Element { tag, value, next }) = element(file, position)? else { break };
        match tag {
            tags::FILE_META_INFORMATION_GROUP_LENGTH => {
                let length = value.first_chunk().map(|&b| u32::from_le_bytes(b) as usize);
                // A length of zero is a writer's placeholder.
                stated_end = length.filter(|&l| l > 0).map(|length| next.saturating_add(length));
            }
            tags::TRANSFER_SYNTAX_UID => {
                let text = String::from_utf8_lossy(value);
                transfer_syntax = Some(text.trim_end_matches(['\0', ' ']).to_owned());
            }
            _ => {}
        }
        if next > LARGEST {
            return Err(MetaError::TooLarge);
        }
        position = next;
    }
    let transfer_syntax = transfer_syntax.ok_or(MetaError::NoTransferSyntax)?;
    Ok(FileMeta { transfer_syntax, data_set_offset: position })
}

struct Element<'a> {
    tag: Tag,
    value: &'a [u8],
    next: usize,
}

/// The element at a place; none when it is not of group 0002.
fn element(file: &[u8], position: usize) -> Result<Option<Element<'_>>, MetaError> {
    let rest = file.get(position..).unwrap_or_default();
    let Some(&[2, 0, e0, e1, v0, v1, l0, l1]) = rest.first_chunk::<8>() else { return Ok(None) };
    let malformed = MetaError::Malformed(position);
    let vr = VR::from_binary([v0, v1]).ok_or(malformed.clone())?;
    let (header, length) = if has_short_form(vr) {
        (8, u32::from(u16::from_le_bytes([l0, l1])))
    } else {
        let long = rest.get(8..).and_then(<[u8]>::first_chunk);
        (12, u32::from_le_bytes(*long.ok_or(malformed.clone())?))
    };
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(header));
    let value = end.and_then(|end| rest.get(header..end)).ok_or(malformed)?;
    let tag = Tag(2, u16::from_le_bytes([e0, e1]));
    Ok(Some(Element { tag, value, next: position + header + value.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut file = vec![0; PREAMBLE];
        file.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0\x2A\0\0\0");
        file.extend_from_slice(b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01");
        file.extend_from_slice(b"\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0");
        file
    }

    #[test]
    fn a_right_group_length_and_a_wrong_one_lead_to_the_same_place() {
        let mut file = file();
        let data_set_offset = file.len();
        let meta = FileMeta { transfer_syntax: "1.2.840.10008.1.2.1".to_owned(), data_set_offset };
        // What follows looks like group 0002, as a deflated stream may.
        file.extend_from_slice(b"\x02\0\x05\0CS\0\0");
        assert_eq!(parse(&file), Ok(meta.clone()));
        file.truncate(data_set_offset);
        file.extend_from_slice(b"\x08\0\x05\0CS\0\0");
        for wrong in [0, 7, 255] {
            file[140] = wrong;
            assert_eq!(parse(&file), Ok(meta.clone()));
        }
    }

    #[test]
    fn lies_are_errors() {
        assert_eq!(parse(b"DICM"), Err(MetaError::Prefix));
        let file = file();
        assert_eq!(parse(&file[..170]), Err(MetaError::Malformed(158)));
        assert_eq!(parse(&file[..144]), Err(MetaError::NoTransferSyntax));
    }
}
