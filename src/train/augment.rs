//! Looks at a radiograph: slightly turned, scaled, shifted, flipped, brighter or darker.
#![expect(clippy::indexing_slicing, reason = "a pixel kernel; every index is clamped or checked")]

use super::chance::Chance;

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
}

impl Look {
    /// A random look: ± 10°, scale 0.85 to 1.12, shift up to 6%, mirrored half of the time,
    /// contrast ± 20%, brightness ± 8%, gamma 0.8 to 1.25.
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
        }
    }

    /// Samples a square picture of `side` pixels as one of `target` pixels, by bilinear
    /// interpolation, black outside; grey values in [0, 1].
    pub fn sample(&self, source: &[u8], side: usize, target: usize) -> Vec<f32> {
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
