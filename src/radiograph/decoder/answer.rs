//! What the child says: one line of JSON, and after it the pixels.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::super::grey::{Rendered, Window};
use super::super::{GreyImage, RadiographError};
use super::DecodeLimits;

/// Most bytes of the line.
const LINE: usize = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
enum Head {
    Rendered { columns: u32, rows: u32, window: Window },
    Refused(RadiographError),
}

/// Writes what rendering came to.
pub(super) fn write(
    to: &mut impl Write,
    rendered: &Result<Rendered, RadiographError>,
) -> io::Result<()> {
    let (head, pixels) = match rendered {
        Ok(Rendered { image, window }) => {
            let (columns, rows) = (image.width(), image.height());
            (Head::Rendered { columns, rows, window: *window }, image.pixels())
        }
        Err(error) => (Head::Refused(error.clone()), &[][..]),
    };
    let mut line = serde_json::to_vec(&head)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.write_all(pixels)?;
    to.flush()
}

/// Reads it, no more than the limits allow; `None` when it is not whole.
pub(super) fn read(
    from: impl Read,
    limits: &DecodeLimits,
) -> io::Result<Option<Result<Rendered, RadiographError>>> {
    let most = limits.pixels.saturating_add(LINE as u64);
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes)?;
    let head = bytes.get(..bytes.len().min(LINE)).unwrap_or_default();
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let (line, rest) = bytes.split_at(end);
    let Ok(head) = serde_json::from_slice(line) else { return Ok(None) };
    Ok(match head {
        Head::Refused(error) => Some(Err(error)),
        Head::Rendered { columns, rows, window } => {
            let pixels = rest.get(1..).unwrap_or_default().to_vec();
            GreyImage::new(columns, rows, pixels).map(|image| Ok(Rendered { image, window }))
        }
    })
}
