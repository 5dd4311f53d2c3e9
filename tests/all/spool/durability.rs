//! The order in which things reach the disk, as the spool traces it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use thorascribe::spool::Receipt;

use super::bench::{Bench, finish, report};

thread_local! {
    /// What this thread's spool traces, while it is recorded.
    static RECORD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Appends to the record of the thread that traces.
struct Recorder;

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        RECORD.with_borrow_mut(|record| {
            if let Some(record) = record {
                record.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all threads: one of this thread's own would lose events that a test beside
/// this one met first, since their interest is cached for the process.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("thorascribe::spool=trace")
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_writer(|| Recorder)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        tracing::callsite::rebuild_interest_cache();
    });
}

pub(super) fn steps_of(work: impl FnOnce()) -> Vec<String> {
    RECORD.set(Some(Vec::new()));
    work();
    let text = String::from_utf8(RECORD.take().unwrap()).unwrap();
    let done = ["synced", "named", "committed"];
    text.lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| done.iter().any(|word| line.ends_with(word)))
        .collect()
}

#[test]
fn bytes_are_synced_before_their_name_and_names_before_their_row() {
    let bench = Bench::new();
    // Every event is met once before the subscriber comes.
    bench.store(2, 1, b"before");
    finish(bench.lease(), vec![report("pacs")]);
    listen();
    let whole = ["file synced", "file named", "folder synced", "transaction committed"];
    assert_eq!(steps_of(|| assert_eq!(bench.store(1, 1, b"one"), Receipt::Stored)), whole);
    let lease = bench.lease();
    assert_eq!(steps_of(|| finish(lease, vec![report("pacs")])), whole);
    assert_eq!(
        steps_of(|| assert_eq!(bench.store(1, 1, b"one"), Receipt::Duplicate)),
        ["file synced", "transaction committed"],
        "a duplicate needs no name"
    );
}
