//! Blocks of every packing to bytes, scales and offsets: the reference that the fast ways agree
//! with, and the way for packings without one.
#![expect(clippy::indexing_slicing, reason = "the layouts of blocks, within lengths checked once")]

use half::f16;

use super::Packing;

/// Numbers opened at a time.
pub(super) const RUN: usize = 256;

/// A part of a row: `w = d · q + m`, with a scale `d` and an offset `m` for each 16 numbers.
pub(super) struct Opened {
    pub(super) q: [u8; RUN],
    pub(super) d: [f32; RUN / 16],
    pub(super) m: [f32; RUN / 16],
}

impl Opened {
    pub(super) fn new() -> Self {
        Self { q: [0; RUN], d: [0.0; RUN / 16], m: [0.0; RUN / 16] }
    }

    /// Opens `blocks`, at most 256 numbers.
    pub(super) fn open(&mut self, packing: Packing, blocks: &[u8]) {
        let numbers = packing.block();
        for (i, block) in blocks.chunks_exact(packing.block_bytes()).enumerate() {
            let at = i * numbers;
            let q = &mut self.q[at..at + numbers];
            let (d, m) = (&mut self.d[at / 16..], &mut self.m[at / 16..]);
            match packing {
                Packing::Q8_0 => q8_0(block, q, d, m),
                Packing::Q4_0 | Packing::Q4_1 => q4(block, q, d, m),
                Packing::Q5_0 | Packing::Q5_1 => q5(block, q, d, m),
                Packing::Q4K | Packing::Q5K => k45(block, q, d, m),
                Packing::Q6K => q6_k(block, q, d, m),
                // These have no blocks.
                Packing::F16 | Packing::Bf16 => {}
            }
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// One scale and offset for 32 numbers.
fn set(d: &mut [f32], m: &mut [f32], scale: f32, offset: f32) {
    d[..2].fill(scale);
    m[..2].fill(offset);
}

fn q8_0(block: &[u8], q: &mut [u8], d: &mut [f32], m: &mut [f32]) {
    let scale = half(block, 0);
    for (q, byte) in q.iter_mut().zip(&block[2..]) {
        *q = byte ^ 0x80;
    }
    set(d, m, scale, -128.0 * scale);
}

fn q4(block: &[u8], q: &mut [u8], d: &mut [f32], m: &mut [f32]) {
    let offset = block.len() == Packing::Q4_1.block_bytes();
    let scale = half(block, 0);
    let nibbles = &block[if offset { 4 } else { 2 }..];
    for (i, byte) in nibbles.iter().enumerate() {
        q[i] = byte & 15;
        q[i + 16] = byte >> 4;
    }
    set(d, m, scale, if offset { half(block, 2) } else { -8.0 * scale });
}

fn q5(block: &[u8], q: &mut [u8], d: &mut [f32], m: &mut [f32]) {
    let offset = block.len() == Packing::Q5_1.block_bytes();
    let scale = half(block, 0);
    let rest = &block[if offset { 4 } else { 2 }..];
    let high = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    for (i, byte) in rest[4..].iter().enumerate() {
        q[i] = (byte & 15) | ((((high >> i) & 1) as u8) << 4);
        q[i + 16] = (byte >> 4) | ((((high >> (i + 16)) & 1) as u8) << 4);
    }
    set(d, m, scale, if offset { half(block, 2) } else { -16.0 * scale });
}

/// Scale and offset `i` of the eight in 12 bytes of 6 bits each.
fn six_bits(packed: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (
            (packed[i + 4] & 15) | ((packed[i - 4] >> 6) << 4),
            (packed[i + 4] >> 4) | ((packed[i] >> 6) << 4),
        )
    }
}

fn k45(block: &[u8], q: &mut [u8], d: &mut [f32], m: &mut [f32]) {
    let fifth = block.len() == Packing::Q5K.block_bytes();
    let (scale, offset) = (half(block, 0), half(block, 2));
    let (high, nibbles) =
        if fifth { (Some(&block[16..48]), &block[48..]) } else { (None, &block[16..]) };
    for i in 0..8 {
        let (s, o) = six_bits(&block[4..16], i);
        let (s, o) = (scale * f32::from(s), -offset * f32::from(o));
        set(&mut d[2 * i..], &mut m[2 * i..], s, o);
        let shift = 4 * (i % 2);
        for (l, q) in q[32 * i..32 * (i + 1)].iter_mut().enumerate() {
            *q = (nibbles[i / 2 * 32 + l] >> shift) & 15;
            if let Some(high) = high {
                *q |= ((high[l] >> i) & 1) << 4;
            }
        }
    }
}

fn q6_k(block: &[u8], q: &mut [u8], d: &mut [f32], m: &mut [f32]) {
    let scale = half(block, 208);
    for (i, s) in block[192..208].iter().enumerate() {
        d[i] = scale * f32::from(*s as i8);
        m[i] = -32.0 * d[i];
    }
    for part in 0..2 {
        let low = &block[64 * part..64 * (part + 1)];
        let high = &block[128 + 32 * part..128 + 32 * (part + 1)];
        let q = &mut q[128 * part..128 * (part + 1)];
        for l in 0..32 {
            q[l] = (low[l] & 15) | ((high[l] & 3) << 4);
            q[l + 32] = (low[l + 32] & 15) | (((high[l] >> 2) & 3) << 4);
            q[l + 64] = (low[l] >> 4) | (((high[l] >> 4) & 3) << 4);
            q[l + 96] = (low[l + 32] >> 4) | ((high[l] >> 6) << 4);
        }
    }
}
