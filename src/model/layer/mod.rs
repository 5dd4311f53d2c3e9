//! The layers that every part is built of, each with a backward pass.
//!
//! candle-nn's own fused norms, softmax and rotary embedding have no backward and raise no error,
//! so a model trained with them stands still in silence. These run fused over rows on the CPU in
//! f32, norms and softmax fused on a GPU where nothing is trained, and as plain tensor operations
//! (differentiable too) for every other device and type.

mod activation;
mod attention;
mod bias;
pub mod cuda;
mod depthwise;
mod gather;
#[cfg(feature = "cuda")]
mod joined;
mod linear;
mod low_rank;
mod norm;
mod rope;
mod rows;
mod softmax;
mod wide;

pub use activation::{gelu, silu};
pub use attention::attend_one;
pub use bias::{bias_add, bias_relu6};
pub use depthwise::{Steps, depthwise, tap_image};
pub use gather::{RowMap, gather_rows};
#[cfg(feature = "cuda")]
pub(in crate::model) use joined::Joined;
pub use linear::{Embedding, Linear};
pub use low_rank::LowRank;
pub use norm::{LayerNorm, RmsNorm, layer_norm, rms_norm};
pub use rope::Rotary;
pub use softmax::{AttentionMask, attention_softmax, softmax};
