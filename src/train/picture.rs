//! Pictures at a size of the encoder, as the drafting model prepares them.

use crate::radiograph::GreyImage;
use crate::radiograph::resize::bicubic;

/// In the middle of a black square, brought to `side` columns and rows.
pub(super) fn square(image: &GreyImage, side: u32) -> Vec<u8> {
    let longest = image.width().max(image.height());
    let (left, top) = ((longest - image.width()) / 2, (longest - image.height()) / 2);
    let mut canvas = vec![0u8; longest as usize * longest as usize];
    let rows = image.pixels().chunks_exact(image.width().max(1) as usize);
    let places = canvas.chunks_exact_mut(longest.max(1) as usize).skip(top as usize);
    for (to, from) in places.zip(rows) {
        let to = to.iter_mut().skip(left as usize);
        to.zip(from).for_each(|(to, from)| *to = *from);
    }
    match GreyImage::new(longest, longest, canvas) {
        Some(canvas) => bicubic(&canvas, side, side).pixels().to_vec(),
        None => vec![],
    }
}
