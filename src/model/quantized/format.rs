//! The types a weight may lie in, their sizes and names.

use std::fmt;
use std::str::FromStr;

use candle_core::DType;
use candle_core::quantized::GgmlDType;

/// How the numbers of a weight matrix lie. A row is a whole number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Packing {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// 32 numbers of 8 bits and a scale.
    Q8_0,
    /// 32 numbers of 4 bits and a scale.
    Q4_0,
    /// 32 numbers of 4 bits, a scale and an offset.
    Q4_1,
    /// 32 numbers of 5 bits and a scale.
    Q5_0,
    /// 32 numbers of 5 bits, a scale and an offset.
    Q5_1,
    /// 256 numbers of 4 bits; each 32 have a scale and an offset of 6 bits.
    Q4K,
    /// 256 numbers of 5 bits; each 32 have a scale and an offset of 6 bits.
    Q5K,
    /// 256 numbers of 6 bits; each 16 have a scale of 8 bits.
    Q6K,
}

impl Packing {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The name in manifests, on the command line, and at the end of a tensor's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    /// ggml's number of the type, as GGUF files have it.
    pub fn from_ggml(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::F16,
            30 => Self::Bf16,
            8 => Self::Q8_0,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            _ => return None,
        })
    }

    /// candle's name of the type.
    pub fn ggml(self) -> GgmlDType {
        match self {
            Self::F16 => GgmlDType::F16,
            Self::Bf16 => GgmlDType::BF16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// The tensor type, where the numbers are floats.
    pub fn float(self) -> Option<DType> {
        match self {
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            _ => None,
        }
    }

    /// Numbers in a block.
    pub const fn block(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `columns` numbers, where they make whole blocks.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        let whole = columns > 0 && columns.is_multiple_of(self.block());
        if whole { (columns / self.block()).checked_mul(self.block_bytes()) } else { None }
    }

    /// Numbers of a row of `bytes` bytes, where they make whole blocks.
    pub fn columns(self, bytes: usize) -> Option<usize> {
        let whole = bytes > 0 && bytes.is_multiple_of(self.block_bytes());
        if whole { (bytes / self.block_bytes()).checked_mul(self.block()) } else { None }
    }

    /// The name under which a weight of blocks lies in a safetensors file, as u8
    /// `[rows, bytes of a row]`.
    pub fn stored_name(self, weight: &str) -> String {
        format!("{weight}.{}", self.name())
    }

    /// The weight's own name and its packing, of the name of a weight of blocks.
    pub fn of_stored_name(name: &str) -> Option<(&str, Self)> {
        let (weight, suffix) = name.rsplit_once('.')?;
        let packing = suffix.parse::<Self>().ok().filter(|packing| packing.float().is_none())?;
        Some((weight, packing))
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Packing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|packing| packing.name() == text);
        found.ok_or_else(|| format!("{text:?} is no weight type that is known here"))
    }
}
