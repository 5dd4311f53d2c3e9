//! What the child says: one line of JSON, and after it the pixels.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use super::super::grey::{Rendered, Window};
use super::super::{GreyImage, RadiographError};
use super::DecodeLimits;

/// Most bytes of the line.
const LINE: u64 = 64 * 1024;

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
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    Read::by_ref(&mut from).take(LINE).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    let Ok(head) = serde_json::from_slice(&line) else { return Ok(None) };
    Ok(match head {
        Head::Refused(error) => Some(Err(error)),
        Head::Rendered { columns, rows, window } => {
            let count = u64::from(columns) * u64::from(rows);
            if count > limits.pixels {
                return Ok(None);
            }
            // Room for the pixels once, and none for what is too much.
            let mut pixels = Vec::new();
            pixels.reserve_exact(usize::try_from(count).map_err(io::Error::other)?);
            from.take(count.saturating_add(1)).read_to_end(&mut pixels)?;
            GreyImage::new(columns, rows, pixels).map(|image| Ok(Rendered { image, window }))
        }
    })
}
