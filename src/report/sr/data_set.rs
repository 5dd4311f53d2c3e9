//! A data set in the making: values are bytes that go out as they are (PS3.5 §6.2).

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

    /// Puts a text value, padded to even length as its VR wants.
    pub(crate) fn put(&mut self, tag: Tag, vr: VR, value: impl AsRef<[u8]>) {
        let mut value = value.as_ref().to_vec();
        // PS3.5 §6.2.2: a value too long for its VR's length field goes as UN.
        let long = matches!(vr, VR::UT | VR::UC | VR::UR);
        let mut vr = if value.len() > SHORT && !long { VR::UN } else { vr };
        if value.len() % 2 == 1 {
            value.push(if vr == VR::UI { 0 } else { b' ' });
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
