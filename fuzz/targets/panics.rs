//! Panics that are caught.

/// Replaces the panic hook of libFuzzer, which ends the process even where a panic is caught; one
/// that is not caught still does.
pub fn let_codecs_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let ours = |file: &str| file.starts_with("src/") || file.contains("fuzz/src");
        if panic.location().is_some_and(|at| ours(at.file())) {
            eprintln!("{panic}");
        }
    }));
}
