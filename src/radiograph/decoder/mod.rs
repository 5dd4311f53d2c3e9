//! Decoding where it can do no harm: in a process of its own, under limits of memory and time.
//!
//! A codec is other people's code on a peer's bytes. A panic can be caught; a stack that overflows,
//! memory that runs out and a loop without end cannot, so the node decodes by calling its own
//! program again (`thorascribe decode`): the object as its standard input, the pixels from its
//! standard output.

mod answer;
mod apart;
mod child;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use child::{Order, run};

use super::grey::{self, Rendered};
use super::header;
use super::{GreyImage, RadiographError};
use crate::object::{StoredObject, Turns};

/// How many images are decoded at a time: each may take [`DecodeLimits::memory`].
const AT_A_TIME: usize = 2;

/// What decoding one image may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Columns, and rows.
    pub side: u32,
    /// Pixels.
    pub pixels: u64,
    /// Bytes of memory, the program's own included.
    pub memory: u64,
    /// Wall-clock time, and processor time.
    pub time: Duration,
}

impl Default for DecodeLimits {
    /// What this program is made for at most, in 2 GiB and a minute.
    fn default() -> Self {
        let (side, pixels) = (header::LARGEST_SIDE, header::LARGEST_AREA);
        Self { side, pixels, memory: 2 << 30, time: Duration::from_mins(1) }
    }
}

/// Decodes images; clones share its turns.
#[derive(Debug, Clone)]
pub struct Decoder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What is called; none: decoding happens here.
    program: Option<PathBuf>,
    limits: DecodeLimits,
    turns: Turns,
}

impl Decoder {
    /// In this process: for commands that do nothing else.
    pub fn here() -> Self {
        Self::new(None, DecodeLimits::default())
    }

    /// In a process of its own for each image: `program` is this one, by its path.
    pub fn apart(program: PathBuf, limits: DecodeLimits) -> Self {
        Self::new(Some(program), limits)
    }

    fn new(program: Option<PathBuf>, limits: DecodeLimits) -> Self {
        Self(Arc::new(Inner { program, limits, turns: Turns::new(AT_A_TIME) }))
    }

    /// [`super::render`] of a file; blocks the thread.
    pub fn render(&self, file: &Path) -> Result<Rendered, RadiographError> {
        self.develop(file, None, |rendered| rendered)
    }

    /// [`super::render_in`] of a file; blocks the thread.
    pub fn render_in(
        &self,
        file: &Path,
        center: f64,
        width: f64,
    ) -> Result<GreyImage, RadiographError> {
        self.develop(file, Some((center, width)), |rendered| rendered.image)
    }

    /// Either of them, and at once what is wanted of it: pixels as they come may be
    /// [`DecodeLimits::pixels`] bytes, and so there are never more of them than images are decoded
    /// at a time. Blocks the thread.
    pub fn develop<T>(
        &self,
        file: &Path,
        window: Option<(f64, f64)>,
        look: impl FnOnce(Rendered) -> T,
    ) -> Result<T, RadiographError> {
        let Inner { program, limits, turns } = &*self.0;
        let _turn = turns.take();
        let rendered = match program {
            Some(program) => apart::develop(program, file, window, limits),
            None => here(file, window, limits),
        };
        rendered.map(look)
    }
}

/// Opens and renders a file in this process.
fn here(
    file: &Path,
    window: Option<(f64, f64)>,
    limits: &DecodeLimits,
) -> Result<Rendered, RadiographError> {
    let object = StoredObject::open(file).map_err(RadiographError::from)?;
    grey::develop_within(&object, window, limits)
}
