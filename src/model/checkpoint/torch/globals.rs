//! The names that a pickle of tensors may hold. Nothing of a pickle is ever called; a file that
//! names anything else was not made to hold tensors alone, and is refused whole.

/// Types of `torch`, `collections`, `builtins` and the like that stand beside tensors in
/// checkpoints: configurations, counters, states of optimisers.
const PLAIN: [(&str, &[&str]); 9] = [
    ("collections", &["OrderedDict", "defaultdict", "Counter", "deque", "namedtuple"]),
    ("builtins", BUILTINS),
    ("__builtin__", BUILTINS),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("pathlib", &["Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath"]),
    ("_codecs", &["encode"]),
    ("copyreg", &["_reconstructor"]),
    ("copy_reg", &["_reconstructor"]),
];

const BUILTINS: &[&str] = &[
    "set",
    "frozenset",
    "dict",
    "list",
    "tuple",
    "int",
    "long",
    "float",
    "complex",
    "bool",
    "str",
    "unicode",
    "bytes",
    "bytearray",
    "object",
    "slice",
    "range",
];

/// Types of `torch` itself, beside its storages and number types.
const TORCH: [&str; 5] = ["Size", "device", "Tensor", "dtype", "Generator"];
/// Its number types.
const NUMBERS: [&str; 16] = [
    "float", "float16", "float32", "float64", "half", "double", "bfloat16", "int", "int8", "int16",
    "int32", "int64", "short", "long", "uint8", "bool",
];
const NUMPY: [&str; 6] = ["scalar", "dtype", "ndarray", "_reconstruct", "float64", "float32"];

/// Whether a name is one of those.
pub(super) fn known(module: &str, name: &str) -> bool {
    if PLAIN.iter().any(|(plain, names)| *plain == module && names.contains(&name)) {
        return true;
    }
    match module {
        "torch" => TORCH.contains(&name) || NUMBERS.contains(&name) || storage(name),
        "torch.storage" => storage(name),
        "torch._utils" | "torch._tensor" => name.starts_with("_rebuild_"),
        "torch.nn.parameter" => name == "Parameter",
        "torch.serialization" => name == "_get_layout",
        "numpy" | "numpy.core.multiarray" | "numpy._core.multiarray" | "numpy.dtypes" => {
            NUMPY.contains(&name) || name.ends_with("DType")
        }
        // XrayGPT's configuration, where it was saved as it is.
        _ => module == "omegaconf" || module.starts_with("omegaconf."),
    }
}

fn storage(name: &str) -> bool {
    name.ends_with("Storage") && name.bytes().all(|b| b.is_ascii_alphanumeric())
}
