//! A data set in the making: values are bytes that go out as they are (PS3.5 §6.2).

use dicom_core::header::Header as _;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;

use super::codes::Code;
use crate::report::ReportError;

/// The longest value of an element whose length field has 16 bits.
const SHORT: usize = 0xfffe;

/// What opens an item.
const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];

#[derive(Debug, Clone)]
pub(crate) struct DataSet {
    values: Vec<InMemElement>,
    sequences: Vec<(Tag, Vec<Self>)>,
}

impl DataSet {
    pub(crate) fn new() -> Self {
        Self { values: Vec::new(), sequences: Vec::new() }
    }

    /// Puts a value as its bytes, padded to even length as its VR wants.
    pub(crate) fn put(&mut self, tag: Tag, vr: VR, value: impl AsRef<[u8]>) {
        let mut value = value.as_ref().to_vec();
        // PS3.5 §6.2.2: a value too long for its VR's length field goes as UN.
        let long = matches!(vr, VR::UT | VR::UC | VR::UR | VR::OB);
        let mut vr = if value.len() > SHORT && !long { VR::UN } else { vr };
        if value.len() % 2 == 1 {
            value.push(if matches!(vr, VR::UI | VR::OB) { 0 } else { b' ' });
        }
        let value = match vr {
            _ if value.is_empty() => PrimitiveValue::Empty,
            // The encoder takes bytes of these two for numbers.
            VR::IS | VR::DS if value.is_ascii() => {
                String::from_utf8(value).unwrap_or_default().into()
            }
            VR::IS | VR::DS => {
                vr = VR::UN;
                PrimitiveValue::U8(value.into())
            }
            _ => PrimitiveValue::U8(value.into()),
        };
        self.values.push(DataElement::new(tag, vr, value));
    }

    /// Puts a value in the place of the one that is there.
    pub(crate) fn put_instead(&mut self, tag: Tag, vr: VR, value: impl AsRef<[u8]>) {
        self.values.retain(|element| element.tag() != tag);
        self.put(tag, vr, value);
    }

    /// Whether no value has a character beyond ASCII, nor an escape sequence.
    pub(crate) fn is_ascii(&self) -> bool {
        self.values.iter().all(|element| match element.value().primitive() {
            Some(value) => is_plain(&value.to_bytes()),
            None => false,
        }) && self.sequences.iter().flat_map(|(_, items)| items).all(Self::is_ascii)
    }

    pub(crate) fn put_sequence(&mut self, tag: Tag, items: Vec<Self>) {
        self.sequences.push((tag, items));
    }

    pub(crate) fn put_code(&mut self, tag: Tag, code: &Code) {
        self.put_sequence(tag, vec![Self::from(code)]);
    }

    /// In Explicit VR Little Endian. Sequences and items have defined lengths, as archives built
    /// on DCMTK write them: what they give back is then the same bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ReportError> {
        let mut elements = self.values.clone();
        for (tag, items) in &self.sequences {
            let mut value = Vec::new();
            for item in items {
                let item = item.encode()?;
                let length = u32::try_from(item.len())
                    .map_err(|error| ReportError::Encoding(error.to_string()))?;
                value.extend_from_slice(&ITEM);
                value.extend_from_slice(&length.to_le_bytes());
                value.extend_from_slice(&item);
            }
            let value = if value.is_empty() {
                PrimitiveValue::Empty
            } else {
                PrimitiveValue::U8(value.into())
            };
            elements.push(DataElement::new(*tag, VR::SQ, value));
        }
        let mut bytes = Vec::new();
        // Not by `put`: after a change of character set it drops sequences whose value is bytes.
        InMemDicomObject::from_element_iter(elements)
            .write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased())
            .map_err(|error| ReportError::Encoding(error.to_string()))?;
        Ok(bytes)
    }
}

/// Whether a value is the same in every character set: ASCII without an escape sequence.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii() && *byte != 0x1b)
}

impl From<&Code> for DataSet {
    fn from(code: &Code) -> Self {
        let mut item = Self::new();
        item.put(tags::CODE_VALUE, VR::SH, &code.value);
        item.put(tags::CODING_SCHEME_DESIGNATOR, VR::SH, &code.scheme);
        if let Some(version) = &code.version {
            item.put(tags::CODING_SCHEME_VERSION, VR::SH, version);
        }
        item.put(tags::CODE_MEANING, VR::LO, &code.meaning);
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_padded_and_too_long_ones_go_as_un() {
        let mut set = DataSet::new();
        set.put(tags::PATIENT_NAME, VR::PN, vec![b'\xe9'; 70_001]);
        set.put(tags::PATIENT_WEIGHT, VR::DS, "7.1");
        set.put(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3");
        let bytes = set.encode().unwrap();
        assert!(bytes.starts_with(b"\x10\x00\x10\x00UN\x00\x00\x72\x11\x01\x00\xe9"));
        assert!(
            bytes.ends_with(b" \x10\x00\x30\x10DS\x04\x007.1 \x20\x00\x0e\x00UI\x06\x001.2.3\x00")
        );
    }

    #[test]
    fn sequences_and_items_state_their_lengths() {
        let mut item = DataSet::new();
        item.put(tags::CODE_VALUE, VR::SH, "P1");
        let mut set = DataSet::new();
        set.put(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
        set.put_sequence(tags::PROCEDURE_CODE_SEQUENCE, vec![item]);
        let wanted = b"\x08\x00\x32\x10SQ\x00\x00\x12\x00\x00\x00\xfe\xff\x00\xe0\x0a\x00\x00\x00\
            \x08\x00\x00\x01SH\x02\x00P1";
        assert!(set.encode().unwrap().ends_with(wanted));
    }
}
