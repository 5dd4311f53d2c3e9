//! The one form in which radiographs go to the model.

/// An 8-bit grey image, row after row, low values dark. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct GreyImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    colour: Option<Box<[Vec<u8>; 3]>>,
}

impl GreyImage {
    /// An image of `width` columns and `height` rows; `None` when the pixels are not as many, or
    /// there are none.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let count = usize::try_from(u64::from(width) * u64::from(height)).ok()?;
        (count > 0 && pixels.len() == count).then_some(Self { width, height, pixels, colour: None })
    }

    /// The same with the red, green and blue of the picture that it was made of; planes of another
    /// size are left out.
    #[must_use]
    pub fn with_colour(self, planes: [Vec<u8>; 3]) -> Self {
        let fits = planes.iter().all(|plane| plane.len() == self.pixels.len());
        Self { colour: fits.then(|| Box::new(planes)), ..self }
    }

    /// Red, green and blue, where the picture that it was made of has colours: only an encoder that
    /// was trained on colours looks at them.
    pub fn colour(&self) -> Option<&[Vec<u8>; 3]> {
        self.colour.as_deref()
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, row after row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

/// The pixels are a patient's: only the size is shown.
impl std::fmt::Debug for GreyImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GreyImage({} × {})", self.width, self.height)
    }
}
