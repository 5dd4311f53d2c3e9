//! The child's side: limits itself, then looks at the bytes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::super::{RadiographError, grey};
use super::{DecodeLimits, answer};
use crate::object::StoredObject;

/// What the parent wants.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What it may take.
    pub limits: DecodeLimits,
    /// Center and width of the window, where not the object's.
    pub window: Option<(f64, f64)>,
}

/// Decodes the object on standard input to standard output; ends without an answer where that
/// cannot be done within the limits.
///
/// # Errors
/// Standard input or output fail.
pub fn run(order: &Order) -> io::Result<()> {
    confine(&order.limits);
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let rendered = match StoredObject::of_file(&file) {
        Ok(object) => grey::develop_within(&object, order.window, &order.limits),
        // The parent could read it: what fails here is this process's own memory.
        Err(error) => Err(RadiographError::Object(error.to_string())),
    };
    answer::write(&mut io::BufWriter::new(io::stdout().lock()), &rendered)
}

/// Bounds memory and processor time, and ends with the parent. What the system refuses (a sandbox
/// may) is said and goes without: the parent's own watch stays.
fn confine(limits: &DecodeLimits) {
    let cpu = limits.time.max(Duration::from_secs(1)).as_secs();
    for (resource, most) in [
        (Resource::As, limits.memory),
        (Resource::Cpu, cpu),
        (Resource::Core, 0),
        // Its complaints go to a file; the pixels to a pipe, which has no size.
        (Resource::Fsize, 1 << 16),
    ] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(error) = setrlimit(resource, limit) {
            let mut stderr = io::stderr();
            drop(writeln!(stderr, "no limit of {resource:?}: {error}"));
        }
    }
    // Where this is refused it still ends by its limit of processor time.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        drop(writeln!(io::stderr(), "no end with the node: {error}"));
    }
}
