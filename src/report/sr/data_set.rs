//! A data set in the making: values are bytes that go out as they are (PS3.5 §6.2).

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;

use super::codes::Code;
use crate::report::ReportError;

/// The longest value of an element whose length field has 16 bits.
const SHORT: usize = 0xfffe;

#[derive(Debug, Clone)]
pub(crate) struct DataSet(InMemDicomObject);

impl DataSet {
    pub(crate) fn new() -> Self {
        Self(InMemDicomObject::new_empty())
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
        let _replaced = self.0.put(DataElement::new(tag, vr, value));
    }

    pub(crate) fn put_sequence(&mut self, tag: Tag, items: Vec<Self>) {
        let items: Vec<InMemDicomObject> = items.into_iter().map(|item| item.0).collect();
        let sequence = DataSetSequence::from(items);
        let _replaced = self.0.put(DataElement::new(tag, VR::SQ, sequence));
    }

    pub(crate) fn put_code(&mut self, tag: Tag, code: &Code) {
        self.put_sequence(tag, vec![Self::from(code)]);
    }

    /// In Explicit VR Little Endian.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ReportError> {
        let mut bytes = Vec::new();
        self.0
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
