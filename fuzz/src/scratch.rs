//! A file for what is only read from files.

use std::cell::RefCell;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

thread_local! {
    static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
}

/// Calls `read` with the path of a file that holds these bytes.
pub(super) fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    FILE.with_borrow_mut(|kept| {
        let file = kept.get_or_insert_with(|| NamedTempFile::new().expect("a temporary file"));
        let inner = file.as_file_mut();
        inner.set_len(0).expect("an empty file");
        inner.seek(SeekFrom::Start(0)).expect("its beginning");
        inner.write_all(bytes).expect("the bytes in it");
        read(file.path())
    })
}
