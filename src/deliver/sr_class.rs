//! Which of a draft's reports a destination gets: the first class that it accepts.

use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::NamedTempFile;

use super::rewrite::{Form, rewritten};
use crate::dimse::requestor::{ProposedContext, Requestor, StoreItem};
use crate::spool::SendableFile;
use crate::vocabulary::{InstanceUid, SopClass, TransferSyntax};

/// The contexts for a report: each class in the order wanted, as it is stored and in the implicit
/// encoding that every DICOM peer must take (PS3.5 §10.1).
pub(super) fn report_contexts(files: &[SendableFile]) -> Vec<ProposedContext> {
    let encodings = |file: &SendableFile| [file.transfer_syntax, TransferSyntax::ImplicitLittle];
    files.iter().flat_map(|file| encodings(file).map(|syntax| context(file, syntax))).collect()
}

/// The context for an image: as it is stored, since what others made goes out byte for byte.
pub(super) fn image_contexts(file: &SendableFile) -> Vec<ProposedContext> {
    vec![context(file, file.transfer_syntax)]
}

fn context(file: &SendableFile, syntax: TransferSyntax) -> ProposedContext {
    ProposedContext {
        abstract_syntax: file.sop_class.uid().to_owned(),
        transfer_syntaxes: vec![syntax],
    }
}

/// What goes over the wire; the file made for it lives as long.
pub(super) struct Chosen {
    pub(super) item: StoreItem,
    pub(super) instance: InstanceUid,
    pub(super) class: SopClass,
    /// Deletes the converted file when the delivery is over.
    pub(super) converted: Option<NamedTempFile>,
}

/// The first file whose class the destination accepted, in the encoding that it accepted.
///
/// # Errors
/// The stored report cannot be read, or its other encoding cannot be written.
pub(super) fn choose(
    association: &Requestor,
    files: &[SendableFile],
) -> io::Result<Option<Chosen>> {
    for file in files {
        let accepted = association.accepted(file.sop_class.uid());
        if accepted.contains(&file.transfer_syntax) {
            return as_accepted(file).map(Some);
        }
        if accepted.contains(&TransferSyntax::ImplicitLittle) {
            let syntax = TransferSyntax::ImplicitLittle;
            let implicit = converted(file, Form::Implicit, syntax)?;
            let broken = || io::Error::new(io::ErrorKind::InvalidData, "the report is not whole");
            return implicit.ok_or_else(broken).map(Some);
        }
    }
    Ok(None)
}

/// The longest data set that is padded: it is read into memory.
const PADDED: u64 = 64 << 20;

/// As it is stored, but padded where its length is odd and that can be mended.
fn as_accepted(file: &SendableFile) -> io::Result<Chosen> {
    use TransferSyntax::{DeflatedLittle, ExplicitBig, ImplicitLittle};
    let stored = std::fs::metadata(&file.path)?.len().saturating_sub(file.data_set_offset);
    let explicit = !matches!(file.transfer_syntax, ImplicitLittle | ExplicitBig | DeflatedLittle);
    let even = if stored % 2 == 1 && stored <= PADDED && explicit {
        converted(file, Form::Explicit, file.transfer_syntax)?
    } else {
        None
    };
    Ok(even.unwrap_or_else(|| as_stored(file)))
}

fn as_stored(file: &SendableFile) -> Chosen {
    let item = StoreItem {
        sop_class_uid: file.sop_class.uid().to_owned(),
        instance_uid: file.instance.clone(),
        transfer_syntax: file.transfer_syntax,
        path: file.path.clone(),
        data_set_offset: file.data_set_offset,
    };
    Chosen { item, instance: file.instance.clone(), class: file.sop_class, converted: None }
}

/// Written anew; `None` where that cannot be.
fn converted(
    file: &SendableFile,
    form: Form,
    syntax: TransferSyntax,
) -> io::Result<Option<Chosen>> {
    let mut stored = std::fs::File::open(&file.path)?;
    stored.seek(SeekFrom::Start(file.data_set_offset))?;
    let mut explicit = Vec::new();
    stored.read_to_end(&mut explicit)?;
    let Some(rewritten) = rewritten(&explicit, form) else { return Ok(None) };
    let mut copy = NamedTempFile::new()?;
    copy.write_all(&rewritten)?;
    copy.flush()?;
    let mut chosen = as_stored(file);
    chosen.item.transfer_syntax = syntax;
    copy.path().clone_into(&mut chosen.item.path);
    chosen.item.data_set_offset = 0;
    chosen.converted = Some(copy);
    Ok(Some(chosen))
}

/// Why a destination takes none of the files, for the queue.
pub(super) fn refusal(association: &Requestor, files: &[SendableFile]) -> String {
    let one = |file: &SendableFile| {
        let (class, syntax) = (file.sop_class.name(), file.transfer_syntax.name());
        format!("{class} in {syntax} ({})", association.refusal(file.sop_class.uid(), None))
    };
    let offered: Vec<String> = files.iter().map(one).collect();
    format!("the destination accepts nothing that it was offered: {}", offered.join(", "))
}
