//! Radiographs with headers written byte by byte, so that text is stored in the set it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use thorascribe::object::StoredObject;
use thorascribe::report::Evidence;
use thorascribe::vocabulary::Uid;

/// A data set as tags and bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elements(BTreeMap<Tag, (VR, Vec<u8>)>);

impl Elements {
    pub(crate) fn put(&mut self, tag: Tag, vr: VR, value: impl AsRef<[u8]>) -> &mut Self {
        let mut value = value.as_ref().to_vec();
        if value.len() % 2 == 1 {
            value.push(if matches!(vr, VR::UI | VR::OB) { 0 } else { b' ' });
        }
        self.0.insert(tag, (vr, value));
        self
    }

    pub(crate) fn put_items(&mut self, tag: Tag, items: &[Self]) -> &mut Self {
        let mut value = Vec::new();
        for item in items {
            let bytes = item.encode();
            value.extend(b"\xfe\xff\x00\xe0");
            value.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            value.extend(bytes);
        }
        self.put(tag, VR::SQ, value)
    }

    pub(crate) fn remove(&mut self, tag: Tag) -> &mut Self {
        self.0.remove(&tag);
        self
    }

    /// In Explicit VR Little Endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, (vr, value)) in &self.0 {
            out.extend(tag.group().to_le_bytes());
            out.extend(tag.element().to_le_bytes());
            out.extend(vr.to_bytes());
            if matches!(vr, VR::SQ | VR::OB | VR::OW | VR::UT | VR::UN | VR::UC) {
                out.extend([0, 0]);
                out.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
            } else {
                out.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
            }
            out.extend(value);
        }
        out
    }

    /// As a Part 10 file.
    pub(crate) fn write(&self, path: &Path) {
        let of = |tag: Tag| self.0.get(&tag).map(|(_, value)| value.clone()).unwrap();
        let mut meta = Self::default();
        meta.put(tags::FILE_META_INFORMATION_VERSION, VR::OB, [0, 1])
            .put(tags::MEDIA_STORAGE_SOP_CLASS_UID, VR::UI, of(tags::SOP_CLASS_UID))
            .put(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, VR::UI, of(tags::SOP_INSTANCE_UID))
            .put(tags::TRANSFER_SYNTAX_UID, VR::UI, "1.2.840.10008.1.2.1")
            .put(tags::IMPLEMENTATION_CLASS_UID, VR::UI, "1.2.3.4");
        let meta = meta.encode();
        let mut file = vec![0; 128];
        file.extend(b"DICM\x02\x00\x00\x00UL\x04\x00");
        file.extend(u32::try_from(meta.len()).unwrap().to_le_bytes());
        file.extend(meta);
        file.extend(self.encode());
        std::fs::write(path, file).unwrap();
    }
}

pub(crate) fn code(value: &str, scheme: &str, meaning: impl AsRef<[u8]>) -> Elements {
    let mut item = Elements::default();
    item.put(tags::CODE_VALUE, VR::SH, value)
        .put(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme)
        .put(tags::CODE_MEANING, VR::LO, meaning);
    item
}

/// A character set: how it is declared, a person's name and a text in it.
pub(crate) struct Set {
    pub(crate) label: &'static str,
    pub(crate) declared: Option<&'static str>,
    pub(crate) name: &'static [u8],
    pub(crate) text: &'static [u8],
}

const fn set(
    label: &'static str,
    declared: &'static str,
    name: &'static [u8],
    text: &'static [u8],
) -> Set {
    Set { label, declared: Some(declared), name, text }
}

/// Names and texts of the sets in use; the multi-byte ones are those of PS3.5 Annexes H to K.
pub(crate) const SETS: [Set; 16] = [
    Set { label: "none", declared: None, name: b"Doe^Jane", text: b"Chest two views" },
    set("Latin-1", "ISO_IR 100", b"Buc^J\xe9r\xf4me", b"R\xf6ntgen Thorax"),
    set("Latin-2", "ISO_IR 101", b"Wa\xb3\xeasa^\xa3ukasz", b"Zdj\xeacie klatki"),
    set("Latin-3", "ISO_IR 109", b"\xc6a\xaba^\xd8orman", b"\xf8eto"),
    set("Latin-4", "ISO_IR 110", b"\xbfamber^\xa9arka", b"\xb9irdi"),
    set("Cyrillic", "ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", b"\xd3\xe0\xe3\xd4\xdd\xd0\xef"),
    set("Arabic", "ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", b"\xd5\xcf\xd1"),
    set("Greek", "ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", b"\xc8\xfe\xf1\xe1\xea\xe1\xf2"),
    set("Hebrew", "ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", b"\xe7\xe6\xe4"),
    set("Turkish", "ISO_IR 148", b"\xc7avu\xfeo\xf0lu^\xddbrahim", b"G\xf6\xf0\xfcs"),
    set("Thai", "ISO_IR 166", b"\xca\xc1\xaa\xd2\xc2^\xe3\xa8\xb4\xd5", b"\xcd\xa1"),
    set(
        "Japanese (IR 87)",
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        b"\x1b$B;3ED\x1b(B",
    ),
    set(
        "Japanese (IR 13, IR 87)",
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        b"\xc1\xaa\xbd\xc4",
    ),
    set(
        "Korean",
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        b"\x1b$)C\xc8\xe4\xba\xce",
    ),
    set("GB18030", "GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", b"\xd0\xd8\xb2\xbf"),
    set(
        "UTF-8",
        "ISO_IR 192",
        b"M\xc3\xbcller^J\xc3\xbcrgen=\xe7\x8e\x8b^\xe5\xb0\x8f\xe4\xb8\x9c",
        b"R\xc3\xb6ntgen",
    ),
];

/// Sets that dciodvfy does not know, so that it takes every character of them for an error.
pub(crate) const UNKNOWN_TO_DCIODVFY: [Set; 2] = [
    set("Katakana", "ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", b"\xc1\xaa\xbd\xc4"),
    set("GBK", "GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", b"\xd0\xd8\xb2\xbf"),
];

/// The set with a label.
pub(crate) fn named(label: &str) -> &'static Set {
    SETS.iter().find(|set| set.label == label).unwrap()
}

/// A UID that depends on its parts alone.
pub(crate) fn uid(parts: &[&str]) -> String {
    let name = parts.join("/");
    Uid::from_uuid(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())).to_string()
}

/// A DX image of a chest, number `number` of its study, all text in one set.
pub(crate) fn radiograph(set: &Set, number: &str) -> Elements {
    let mut request = Elements::default();
    request
        .put(tags::REQUESTED_PROCEDURE_ID, VR::SH, "RP1")
        .put(tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, set.text)
        .put_items(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, &[code("P1", "99LOCAL", set.text)])
        .put(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, "SPS1");
    let mut image = Elements::default();
    if let Some(declared) = set.declared {
        image.put(tags::SPECIFIC_CHARACTER_SET, VR::CS, declared);
    }
    image
        .put(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\")
        .put(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.1.1")
        .put(tags::SOP_INSTANCE_UID, VR::UI, uid(&[set.label, "instance", number]))
        .put(tags::STUDY_DATE, VR::DA, "20261123")
        .put(tags::STUDY_TIME, VR::TM, "101500")
        .put(tags::ACCESSION_NUMBER, VR::SH, "ACC0001")
        .put(tags::MODALITY, VR::CS, "DX")
        .put(tags::MANUFACTURER, VR::LO, "Maker")
        .put(tags::INSTITUTION_NAME, VR::LO, set.text)
        .put(tags::REFERRING_PHYSICIAN_NAME, VR::PN, set.name)
        .put(tags::STUDY_DESCRIPTION, VR::LO, set.text)
        .put_items(tags::PROCEDURE_CODE_SEQUENCE, &[code("P1", "99LOCAL", set.text)])
        .put(tags::PATIENT_NAME, VR::PN, set.name)
        .put(tags::PATIENT_ID, VR::LO, "CXR-0001")
        .put(tags::ISSUER_OF_PATIENT_ID, VR::LO, "TESTHOSP")
        .put(tags::PATIENT_BIRTH_DATE, VR::DA, "19600102")
        .put(tags::PATIENT_SEX, VR::CS, "M")
        .put(tags::PATIENT_AGE, VR::AS, "066Y")
        .put(tags::BODY_PART_EXAMINED, VR::CS, "CHEST")
        .put(tags::STUDY_INSTANCE_UID, VR::UI, uid(&[set.label, "study"]))
        .put(tags::SERIES_INSTANCE_UID, VR::UI, uid(&[set.label, "series", number]))
        .put(tags::STUDY_ID, VR::SH, "S1")
        .put(tags::SERIES_NUMBER, VR::IS, number)
        .put(tags::INSTANCE_NUMBER, VR::IS, "1")
        .put(tags::SAMPLES_PER_PIXEL, VR::US, [1, 0])
        .put(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2")
        .put(tags::ROWS, VR::US, [2, 0])
        .put(tags::COLUMNS, VR::US, [2, 0])
        .put(tags::BITS_ALLOCATED, VR::US, [8, 0])
        .put(tags::BITS_STORED, VR::US, [8, 0])
        .put(tags::HIGH_BIT, VR::US, [7, 0])
        .put(tags::PIXEL_REPRESENTATION, VR::US, [0, 0])
        .put_items(tags::REQUEST_ATTRIBUTES_SEQUENCE, &[request])
        .put(tags::PIXEL_DATA, VR::OB, [0, 50, 100, 150]);
    image
}

/// A radiograph on disk, opened.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) object: StoredObject,
}

impl Source {
    pub(crate) fn new(elements: &Elements, path: PathBuf) -> Self {
        elements.write(&path);
        Self::open(path)
    }

    pub(crate) fn open(path: PathBuf) -> Self {
        let object = StoredObject::open(&path).unwrap();
        Self { path, object }
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence {
            sop_class: self.object.sop_class_uid().clone(),
            instance: self.object.instance_uid().clone(),
            series: self.object.series_uid().clone(),
            digest: "d1".to_owned(),
        }
    }
}
