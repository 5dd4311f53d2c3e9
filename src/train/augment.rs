//! Looks at a radiograph: slightly turned, scaled, shifted, flipped, brighter or darker, sometimes
//! coarse.
#![expect(clippy::indexing_slicing, reason = "a pixel kernel; every index is clamped or checked")]

use super::chance::Chance;

/// What [`Look::draw`] draws: a run that saw pictures in other ways is another run.
pub const LOOKS: &str = "turned, scaled, shifted, mirrored, brighter or darker, one in five coarse";

/// One way to look at a picture.
#[derive(Debug, Clone)]
pub struct Look {
    /// Radians, counterclockwise.
    rotation: f32,
    /// Above 1: the picture is enlarged.
    scale: f32,
    /// In half widths of the picture.
    shift: (f32, f32),
    flip: bool,
    contrast: f32,
    /// In parts of the grey range.
    brightness: f32,
    gamma: f32,
    /// Whether it is seen with half the columns and rows.
    coarse: bool,
}

impl Look {
    /// A random look: ± 10°, scale 0.85 to 1.12, shift up to 6%, mirrored half of the time,
    /// contrast ± 20%, brightness ± 8%, gamma 0.8 to 1.25, one in five coarse.
    pub fn draw(chance: &mut Chance) -> Self {
        let degrees = chance.between(-10.0, 10.0);
        Self {
            rotation: degrees.to_radians(),
            scale: chance.between(0.85, 1.12),
            shift: (chance.between(-0.06, 0.06), chance.between(-0.06, 0.06)),
            flip: chance.happens(0.5),
            contrast: chance.between(0.8, 1.2),
            brightness: chance.between(-0.08, 0.08),
            gamma: chance.between(-0.22, 0.22).exp(),
            coarse: chance.happens(0.2),
        }
    }

    /// Samples a square picture of `side` pixels as one of `target` pixels, by bilinear
    /// interpolation, black outside; grey values in [0, 1].
    pub fn sample(&self, source: &[u8], side: usize, target: usize) -> Vec<f32> {
        if self.coarse {
            return self.see(&halved(source, side), side / 2, target);
        }
        self.see(source, side, target)
    }

    fn see(&self, source: &[u8], side: usize, target: usize) -> Vec<f32> {
        let curve = self.curve();
        let black = curve[0];
        let at = |x: i32, y: i32| {
            let inside = x >= 0 && y >= 0 && (x as usize) < side && (y as usize) < side;
            if inside { curve[usize::from(source[y as usize * side + x as usize])] } else { black }
        };
        let (sin, cos) = self.rotation.sin_cos();
        let half = side as f32 / 2.0;
        let mirror = if self.flip { -1.0 } else { 1.0 };
        let mut out = Vec::with_capacity(target * target);
        for row in 0..target {
            let v = ((row as f32 + 0.5) / target as f32 * 2.0 - 1.0) / self.scale;
            for column in 0..target {
                let u = mirror * ((column as f32 + 0.5) / target as f32 * 2.0 - 1.0) / self.scale;
                let x = (u * cos - v * sin + self.shift.0 + 1.0) * half - 0.5;
                let y = (u * sin + v * cos + self.shift.1 + 1.0) * half - 0.5;
                let (x0, y0) = (x.floor(), y.floor());
                let (fx, fy) = (x - x0, y - y0);
                let (x0, y0) = (x0 as i32, y0 as i32);
                let top = at(x0, y0) * (1.0 - fx) + at(x0 + 1, y0) * fx;
                let bottom = at(x0, y0 + 1) * (1.0 - fx) + at(x0 + 1, y0 + 1) * fx;
                out.push(top * (1.0 - fy) + bottom * fy);
            }
        }
        out
    }

    /// What becomes of each grey value.
    fn curve(&self) -> [f32; 256] {
        std::array::from_fn(|grey| {
            let value = (grey as f32 / 255.0).powf(self.gamma);
            ((value - 0.5) * self.contrast + 0.5 + self.brightness).clamp(0.0, 1.0)
        })
    }
}

/// A square picture with half the columns and rows, each pixel the mean of four.
fn halved(source: &[u8], side: usize) -> Vec<u8> {
    let at = |row: usize, column: usize| u16::from(source[row * side + column]);
    let mean = |index: usize| {
        let (row, column) = (index / (side / 2) * 2, index % (side / 2) * 2);
        let sum =
            at(row, column) + at(row, column + 1) + at(row + 1, column) + at(row + 1, column + 1);
        ((sum + 2) / 4) as u8
    };
    (0..(side / 2).pow(2)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_look_shows_the_same_picture_without_what_is_small() {
        // Left dark, right bright, and one bright pixel in the dark.
        let mut picture: Vec<u8> =
            (0..64 * 64).map(|i| if i % 64 < 32 { 40 } else { 200 }).collect();
        picture[20 * 64 + 10] = 240;
        let look = |coarse| {
            let plain = Look {
                rotation: 0.0,
                scale: 1.0,
                shift: (0.0, 0.0),
                flip: false,
                contrast: 1.0,
                brightness: 0.0,
                gamma: 1.0,
                coarse,
            };
            plain.sample(&picture, 64, 64)
        };
        let (fine, coarse) = (look(false), look(true));
        assert_eq!(coarse.len(), 64 * 64);
        let [dark, bright] = [40.0 / 255.0, 200.0 / 255.0];
        for (column, grey) in [(5, dark), (60, bright)] {
            assert!((coarse[32 * 64 + column] - grey).abs() < 1e-5);
        }
        assert!((fine[20 * 64 + 10] - 240.0 / 255.0).abs() < 1e-5);
        let most = coarse.iter().enumerate().filter(|(i, _)| i % 64 < 28).map(|(_, g)| *g);
        assert!(most.fold(0.0, f32::max) < 100.0 / 255.0);
    }
}
