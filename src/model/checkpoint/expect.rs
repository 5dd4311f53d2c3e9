//! Which tensors an architecture needs: asked of the loading code itself, so the two cannot differ.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::manifest::Manifest;
use crate::model::chain::Chain;
use crate::model::error::{ModelError, Step};
use crate::model::quantized::Packing;

/// Shapes by name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The name and shape of every tensor that a model with this manifest has.
pub fn shapes(manifest: &Manifest) -> std::result::Result<Shapes, ModelError> {
    let asked = Arc::new(Mutex::new(Shapes::new()));
    let recorder = Recorder(asked.clone());
    let source = VarBuilder::from_backend(Box::new(recorder), DType::F32, Device::Cpu);
    Chain::load(manifest, &source).step("laying out the model")?;
    Ok(std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Compares the shapes that are needed with those that are there.
pub fn compare(expected: &Shapes, found: &Shapes) -> std::result::Result<(), ModelError> {
    compare_as(expected, found, str::to_owned, |_| String::new())
}

/// The same in the words of a checkpoint: `said` gives its own name of a tensor, `place` where it
/// lies or should lie, as ` in FILE`.
pub(super) fn compare_as(
    expected: &Shapes,
    found: &Shapes,
    said: impl Fn(&str) -> String,
    place: impl Fn(&str) -> String,
) -> std::result::Result<(), ModelError> {
    let mut problems = Vec::new();
    for (name, shape) in expected {
        let (own, place) = (said(name), place(name));
        match found.get(name) {
            None => problems.push(format!("missing: {own} {shape:?}{place}")),
            Some(other) if other != shape => problems
                .push(format!("shape: {own} is {other:?}, the architecture has {shape:?}{place}")),
            Some(_) => {}
        }
    }
    let unknown = found.keys().filter(|name| !expected.contains_key(*name));
    problems.extend(unknown.map(|name| format!("unexpected: {}{}", said(name), place(name))));
    if problems.is_empty() { Ok(()) } else { Err(ModelError::Tensors { problems }) }
}

/// Notes every request and gives zeros that take no memory.
struct Recorder(Arc<Mutex<Shapes>>);

impl SimpleBackend for Recorder {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    /// Every name but those of packed weights: the architecture is asked for, not a file.
    fn contains_tensor(&self, name: &str) -> bool {
        !Packing::ALL.iter().any(|packing| name.ends_with(&packing.stored_name("weight")))
    }
}
