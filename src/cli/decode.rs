//! `thorascribe decode`: what the node calls to decode one image apart from itself.

use std::process::ExitCode;
use std::time::Duration;

use super::Outcome;
use crate::radiograph::{DecodeLimits, Order, decode};

/// The limits, and the window.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The most columns, and rows.
    #[arg(long)]
    side: u32,
    /// The most pixels.
    #[arg(long)]
    pixels: u64,
    /// Bytes of memory.
    #[arg(long)]
    memory: u64,
    /// Processor time.
    #[arg(long)]
    seconds: u64,
    /// The middle of the window, where not the object's.
    #[arg(long, requires = "width", allow_negative_numbers = true)]
    center: Option<f64>,
    /// Its width.
    #[arg(long, requires = "center")]
    width: Option<f64>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Arguments { side, pixels, memory, seconds, center, width } = *arguments;
    let limits = DecodeLimits { side, pixels, memory, time: Duration::from_secs(seconds) };
    decode(&Order { limits, window: center.zip(width) })?;
    Ok(ExitCode::SUCCESS)
}
