//! The variables of a part under training: first values by seed, files of weights.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

use super::chance::Chance;
use super::error::TrainError;
use super::files;
use super::optimise::Named;

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;

/// Builds a part on fresh variables. Vectors begin as its layers say (biases 0, norms 1). Matrices
/// begin with normal numbers drawn by seed, since candle's own draws cannot be repeated: tables
/// with a standard deviation of 0.02, layers with one over the root of their inputs (LeCun), as
/// 0.02 is far too little for narrow ones.
pub fn fresh<T>(
    seed: u64,
    build: impl FnOnce(&VarBuilder<'_>) -> Result<T, TrainError>,
) -> Result<(T, Vec<Named>), TrainError> {
    let map = VarMap::new();
    let part = build(&VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    let variables = sorted(&map)?;
    for (index, (name, var)) in variables.iter().enumerate() {
        if var.rank() > 1 {
            let mut chance = Chance::of(seed, index as u64);
            let inputs: usize = var.dims().iter().skip(1).product();
            let table = name.contains("table") || name.contains("embed_tokens");
            let spread = if table { 0.02 } else { 1.0 / (inputs as f32).sqrt() };
            let values = (0..var.elem_count()).map(|_| chance.normal() * spread);
            let values = values.collect::<Vec<_>>();
            var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
        }
    }
    Ok((part, variables))
}

fn sorted(map: &VarMap) -> Result<Vec<Named>, TrainError> {
    let lost = |error: &dyn std::fmt::Display| TrainError::Worker { reason: error.to_string() };
    let table = map.data().lock().map_err(|error| lost(&error))?;
    let mut variables: Vec<Named> =
        table.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(variables)
}

/// The variable of this name, which the part under training must have.
pub fn named<'a>(variables: &'a [Named], name: &str) -> Result<&'a Var, TrainError> {
    let found = variables.iter().find(|(n, _)| n == name).map(|(_, var)| var);
    found.ok_or_else(|| candle_core::Error::Msg(format!("no variable {name}")).into())
}

/// Writes the values of variables as a safetensors file.
pub fn write(variables: &[Named], path: &Path) -> Result<(), TrainError> {
    let tensors: Tensors =
        variables.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    save(&tensors, path)
}

/// Writes tensors as a safetensors file that whoever may read the folder can read, in one rename.
pub fn save(tensors: &Tensors, path: &Path) -> Result<(), TrainError> {
    let bytes = safetensors::serialize(tensors, None).map_err(|error| TrainError::Run {
        path: path.to_owned(),
        reason: format!("cannot be written: {error}"),
    })?;
    files::replace(path, &bytes)
}

/// Reads a safetensors file as constants: nothing built on them is trained.
pub fn read(path: &Path) -> Result<Tensors, TrainError> {
    let bytes = files::read(path)?;
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| TrainError::Run {
        path: path.to_owned(),
        reason: format!("not a whole file of weights (safetensors): {error}"),
    })
}

/// Sets the variables whose names `chosen` takes to the tensors of their names, which were read from
/// `path`.
pub fn set(
    variables: &[Named],
    tensors: &Tensors,
    chosen: impl Fn(&str) -> bool,
    path: &Path,
) -> Result<(), TrainError> {
    for (name, var) in variables.iter().filter(|(name, _)| chosen(name)) {
        let unfit = |reason: &str| TrainError::Run {
            path: path.to_owned(),
            reason: format!("{name}: {reason}; were other sizes asked for?"),
        };
        let tensor = tensors.get(name).ok_or_else(|| unfit("not in it"))?;
        if tensor.dims() != var.dims() {
            return Err(unfit("another shape"));
        }
        var.set(tensor)?;
    }
    Ok(())
}
