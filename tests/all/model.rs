//! The model against finite differences and against the published implementation's outputs.

mod gradients;
