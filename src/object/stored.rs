//! A stored object: a file or a data set that passed the scan.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use flate2::read::DeflateDecoder;
use memmap2::Mmap;

use super::index::Index;
use super::item::{Item, PersonName, RawElement};
use super::pixel::{self, PixelData};
use super::scan::{self, Limits};
use super::{ObjectError, meta};
use crate::vocabulary::{
    InstanceUid, SeriesUid, SopClass, StudyUid, TransferSyntax, Uid, UidError,
};

/// An object whose structure is sound and whose identity is known.
pub struct StoredObject {
    bytes: Bytes,
    index: Index,
    transfer_syntax: TransferSyntax,
    data_set_offset: u64,
    sop_class: Uid,
    instance: InstanceUid,
    study: StudyUid,
    series: SeriesUid,
}

/// Why a file gives no object, before it is known what it is called.
enum Unread {
    Io(std::io::Error),
    Object(ObjectError),
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ObjectError> for Unread {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

enum Bytes {
    /// A file, and where its data set begins.
    Mapped(Mmap, usize),
    Owned(Vec<u8>),
}

impl Bytes {
    fn data_set(&self) -> &[u8] {
        match self {
            Self::Mapped(map, offset) => map.get(*offset..).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for StoredObject {
    // Names the object, and shows nothing of the patient.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredObject")
            .field("instance", &self.instance)
            .field("sop_class", &self.sop_class)
            .field("transfer_syntax", &self.transfer_syntax)
            .finish_non_exhaustive()
    }
}

impl StoredObject {
    /// Opens and scans a Part 10 file, which must not change while the object lives.
    pub fn open(path: &Path) -> Result<Self, ObjectError> {
        Self::open_within(path, &Limits::default())
    }

    /// [`StoredObject::open`] under other limits.
    pub fn open_within(path: &Path, limits: &Limits) -> Result<Self, ObjectError> {
        let io = |source| ObjectError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        Self::mapped(&file, limits).map_err(|error| match error {
            Unread::Io(source) => io(source),
            Unread::Object(error) => error,
        })
    }

    /// [`StoredObject::open`] of a file that is open already.
    pub fn of_file(file: &File) -> Result<Self, ObjectError> {
        Self::mapped(file, &Limits::default()).map_err(|error| match error {
            Unread::Io(source) => ObjectError::Io { path: "the object".into(), source },
            Unread::Object(error) => error,
        })
    }

    fn mapped(file: &File, limits: &Limits) -> Result<Self, Unread> {
        if !file.metadata()?.is_file() {
            return Err(std::io::Error::other("not a regular file").into());
        }
        let map = map(file)?;
        let meta = meta::parse(&map).map_err(ObjectError::from)?;
        let Some(syntax) = TransferSyntax::from_uid(&meta.transfer_syntax) else {
            return Err(ObjectError::TransferSyntax(meta.transfer_syntax).into());
        };
        let bytes = Bytes::Mapped(map, meta.data_set_offset);
        Ok(Self::scanned(bytes, syntax, meta.data_set_offset, limits)?)
    }

    /// Scans a data set without file meta information, as it came over the network.
    pub fn from_data_set(bytes: Vec<u8>, syntax: TransferSyntax) -> Result<Self, ObjectError> {
        Self::scanned(Bytes::Owned(bytes), syntax, 0, &Limits::default())
    }

    fn scanned(
        mut bytes: Bytes,
        syntax: TransferSyntax,
        offset: usize,
        limits: &Limits,
    ) -> Result<Self, ObjectError> {
        if syntax == TransferSyntax::DeflatedLittle {
            bytes = Bytes::Owned(inflate(bytes.data_set(), limits.inflated)?);
        }
        let index = scan::scan(bytes.data_set(), syntax, limits)?;
        let top = Item::top(bytes.data_set(), &index);
        let sop_class = uid(&top, tags::SOP_CLASS_UID, "SOPClassUID")?;
        let instance = uid(&top, tags::SOP_INSTANCE_UID, "SOPInstanceUID")?;
        let study = uid(&top, tags::STUDY_INSTANCE_UID, "StudyInstanceUID")?;
        let series = uid(&top, tags::SERIES_INSTANCE_UID, "SeriesInstanceUID")?;
        pixel::check(&top, &index)?;
        let data_set_offset = offset as u64;
        Ok(Self {
            transfer_syntax: syntax,
            data_set_offset,
            sop_class,
            instance,
            study,
            series,
            bytes,
            index,
        })
    }

    /// How the object is encoded.
    pub fn transfer_syntax(&self) -> TransferSyntax {
        self.transfer_syntax
    }

    /// SOP Class UID.
    pub fn sop_class_uid(&self) -> &Uid {
        &self.sop_class
    }

    /// The SOP class, where the node knows it.
    pub fn sop_class(&self) -> Option<SopClass> {
        SopClass::from_uid(self.sop_class.as_str())
    }

    /// SOP Instance UID.
    pub fn instance_uid(&self) -> &InstanceUid {
        &self.instance
    }

    /// Study Instance UID.
    pub fn study_uid(&self) -> &StudyUid {
        &self.study
    }

    /// Series Instance UID.
    pub fn series_uid(&self) -> &SeriesUid {
        &self.series
    }

    /// Where the data set begins in the file, in bytes; 0 without one.
    pub fn data_set_offset(&self) -> u64 {
        self.data_set_offset
    }

    /// The data set as one item, to pass on.
    pub fn top(&self) -> Item<'_> {
        Item::top(self.bytes.data_set(), &self.index)
    }

    /// All elements of the top level in their order.
    pub fn elements(&self) -> Vec<RawElement<'_>> {
        self.top().elements().collect()
    }

    /// An element of the top level, exactly.
    pub fn element(&self, tag: Tag) -> Option<RawElement<'_>> {
        self.top().element(tag)
    }

    /// The items of a sequence of the top level.
    pub fn items(&self, tag: Tag) -> Vec<Item<'_>> {
        self.top().items(tag)
    }

    /// See [`Item::text`].
    pub fn text(&self, tag: Tag) -> Option<String> {
        self.top().text(tag)
    }

    /// See [`Item::person_name`].
    pub fn person_name(&self, tag: Tag) -> Option<PersonName> {
        self.top().person_name(tag)
    }

    /// See [`Item::value`].
    pub fn value(&self, tag: Tag) -> Option<String> {
        self.top().value(tag)
    }

    /// See [`Item::values`].
    pub fn values(&self, tag: Tag) -> Vec<String> {
        self.top().values(tag)
    }

    /// See [`Item::integer`].
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        self.top().integer(tag)
    }

    /// See [`Item::decimals`].
    pub fn decimals(&self, tag: Tag) -> Vec<f64> {
        self.top().decimals(tag)
    }

    /// See [`Item::words`].
    pub fn words(&self, tag: Tag) -> Vec<u16> {
        self.top().words(tag)
    }

    /// The pixel data, if there are any.
    pub fn pixel_data(&self) -> Option<PixelData<'_>> {
        pixel::pixel_data(self.bytes.data_set(), &self.index)
    }
}

fn uid<T: FromStr<Err = UidError>>(
    top: &Item<'_>,
    tag: Tag,
    name: &'static str,
) -> Result<T, ObjectError> {
    let element = top.element(tag).ok_or(ObjectError::Missing { name, tag })?;
    let text: String = element.value.iter().map(|&b| char::from(b)).collect();
    text.parse().map_err(|source| ObjectError::BadUid { name, tag, source })
}

#[expect(unsafe_code, reason = "a map is the one way to look at a file without reading all of it")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the spool never changes a file once it has its name; a file given on the command
    // line must not be cut while it is looked at, as `open` says.
    unsafe { Mmap::map(file) }
}

/// Inflates a data set (PS3.5 §A.5) to at most `limit` bytes.
fn inflate(deflated: &[u8], limit: usize) -> Result<Vec<u8>, ObjectError> {
    let mut decoder = DeflateDecoder::new(deflated);
    let mut inflated = Vec::new();
    let bound = limit as u64 + 1;
    decoder
        .by_ref()
        .take(bound)
        .read_to_end(&mut inflated)
        .map_err(|_error| ObjectError::Inflate("the stream is corrupt or cut"))?;
    if inflated.len() > limit {
        return Err(ObjectError::Inflate("it is larger than this node allows"));
    }
    // One byte may pad the stream to an even length; some writers leave the trailer of gzip there.
    if deflated.len() as u64 - decoder.total_in() > 9 {
        return Err(ObjectError::Inflate("bytes follow the end of the stream"));
    }
    Ok(inflated)
}
