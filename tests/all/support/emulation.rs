//! The kernels for a GPU on the processor: `kernels.cu`, as it is shipped, translated for the host.
#![expect(unsafe_code, reason = "loads the translated kernels, which take addresses")]

use std::cell::UnsafeCell;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use candle_core::{DType, Device, Result, Tensor, bail};
use half::{bf16, f16};
use thorascribe::model::layer::cuda::{Launch, Machine, WORDS, Word};

use super::objects::root;
use super::process::{find, succeed};

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

type Emulate = extern "C" fn(
    kernel: *const c_void,
    x: c_uint,
    y: c_uint,
    threads: c_uint,
    shared: c_uint,
    words: *const u64,
) -> c_int;

/// The translated kernels; they stay loaded.
struct Library {
    handle: usize,
    emulate: Emulate,
}

impl Library {
    fn get() -> &'static Self {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        LIBRARY.get_or_init(|| {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("kernels-{}.so", std::process::id()));
            let mut compiler = Command::new(find("c++", "g++", |_| true));
            compiler.args(["-std=c++17", "-O1", "-shared", "-fPIC", "-x", "c++", "-include"]);
            compiler.arg(root().join("tests/all/support/emulation.h"));
            compiler.arg(root().join("src/model/layer/cuda/kernels.cu")).arg("-o").arg(&file);
            succeed(&mut compiler);
            let name = CString::new(file.to_str().unwrap()).unwrap();
            // SAFETY: the name ends with a zero; the library has no code that runs when it is loaded.
            let handle = unsafe { dlopen(name.as_ptr(), 2) };
            assert!(!handle.is_null(), "{} does not load", file.display());
            std::fs::remove_file(&file).unwrap();
            let emulate = symbol(handle, "emulate").unwrap();
            // SAFETY: this is its type in emulation.h.
            let emulate = unsafe { std::mem::transmute::<*mut c_void, Emulate>(emulate) };
            Library { handle: handle as usize, emulate }
        })
    }
}

fn symbol(library: *mut c_void, name: &str) -> Option<*mut c_void> {
    let name = CString::new(name).unwrap();
    // SAFETY: the library is loaded, and the name ends with a zero.
    let symbol = unsafe { dlsym(library, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}

/// Bytes before and after a buffer that no kernel may change.
const GUARD: usize = 256;

/// Numbers in memory that kernels write: every byte is 255 at first, which is no number in any type.
pub(crate) struct Numbers {
    units: Box<[UnsafeCell<u128>]>,
    dtype: DType,
    count: usize,
}

impl Numbers {
    fn new(dtype: DType, count: usize) -> Self {
        let units = (count * dtype.size_in_bytes()).div_ceil(16) + 2 * GUARD / 16;
        let units = (0..units).map(|_| UnsafeCell::new(u128::MAX)).collect();
        Self { units, dtype, count }
    }

    /// Where the numbers begin.
    pub(crate) fn address(&self) -> u64 {
        self.units[GUARD / 16].get() as u64
    }

    fn all(&self) -> &[u8] {
        let length = self.units.len() * 16;
        // SAFETY: these bytes, which only a kernel that runs to its end meanwhile changes.
        unsafe { std::slice::from_raw_parts(self.units[0].get().cast::<u8>(), length) }
    }

    fn bytes(&self) -> &[u8] {
        &self.all()[GUARD..GUARD + self.count * self.dtype.size_in_bytes()]
    }

    fn fill(&mut self, numbers: &[u8]) {
        for (unit, from) in self.units[GUARD / 16..].iter_mut().zip(numbers.chunks(16)) {
            let mut bytes = [255; 16];
            bytes[..from.len()].copy_from_slice(from);
            *unit.get_mut() = u128::from_le_bytes(bytes);
        }
    }

    /// The numbers in 32 bits.
    pub(crate) fn values(&self) -> Vec<f32> {
        let bytes = self.bytes();
        match self.dtype {
            DType::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            DType::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            DType::BF16 => {
                bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            }
            other => panic!("{other:?} are no numbers"),
        }
    }

    /// As a tensor of 32-bit numbers.
    pub(crate) fn tensor(&self, shape: &[usize]) -> Tensor {
        Tensor::from_vec(self.values(), shape, &Device::Cpu).unwrap()
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        let (all, end) = (self.all(), GUARD + self.bytes().len());
        let kept = all[..GUARD].iter().chain(&all[end..]).all(|byte| *byte == 255);
        assert!(kept || std::thread::panicking(), "a kernel wrote outside of its numbers");
    }
}

/// A GPU that is none.
pub(crate) struct Emulator {
    dtype: DType,
    /// Whether matrices are numbers alone, so that the kernels for few rows are used.
    plain: bool,
}

impl Emulator {
    pub(crate) fn new(dtype: DType, plain: bool) -> Self {
        Self { dtype, plain }
    }

    /// The numbers of a tensor in the type that this computes in.
    pub(crate) fn take(&self, tensor: &Tensor) -> Numbers {
        self.take_as(tensor, self.dtype)
    }

    /// The same in another type.
    #[expect(clippy::unused_self, reason = "reads as what it does")]
    pub(crate) fn take_as(&self, tensor: &Tensor, dtype: DType) -> Numbers {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut numbers = Numbers::new(dtype, values.len());
        let bytes: Vec<u8> = match dtype {
            DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            DType::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            other => panic!("{other:?} are no numbers"),
        };
        numbers.fill(&bytes);
        numbers
    }
}

impl Machine for Emulator {
    type Buffer = Numbers;
    /// With the numbers of a row of what comes out, and of one that goes in.
    type Matrix = (Numbers, [usize; 2]);

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn room(&self, rows: usize, width: usize) -> Result<Numbers> {
        Ok(Numbers::new(self.dtype, rows * width))
    }

    fn wide_room(&self, rows: usize, width: usize) -> Result<Numbers> {
        Ok(Numbers::new(DType::F32, rows * width))
    }

    fn upload(&self, words: &[i64]) -> Result<Numbers> {
        let mut numbers = Numbers::new(DType::I64, words.len());
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        numbers.fill(&bytes);
        Ok(numbers)
    }

    fn launch(&self, launch: &Launch<'_, Numbers>) -> Result<()> {
        let library = Library::get();
        let Some(kernel) = symbol(library.handle as *mut c_void, &launch.kernel) else {
            bail!("kernels.cu has no {}", launch.kernel)
        };
        let word = |word: &Word<'_, Numbers>| match word {
            Word::Buffer(numbers) => numbers.map_or(0, Numbers::address),
            Word::Whole(whole) => *whole as u64,
            Word::Real(real) => real.to_bits(),
        };
        let words = launch.words.iter().map(word).collect::<Vec<_>>();
        // A GPU is told as many words as the longest structure has.
        assert!(words.len() <= WORDS, "{} takes {} words", launch.kernel, words.len());
        let Launch { grid: (x, y), threads, shared, .. } = *launch;
        assert!(threads <= 512 && shared <= 48 << 10, "{} is not launched so", launch.kernel);
        match (library.emulate)(kernel, x, y, threads, shared, words.as_ptr()) {
            0 => Ok(()),
            1 => bail!("{}: threads that do not meet", launch.kernel),
            _ => bail!("{}: shared memory of {shared} bytes is too small", launch.kernel),
        }
    }

    fn product(&self, x: &Numbers, (weight, [output, input]): &Self::Matrix) -> Result<Numbers> {
        let x = x.tensor(&[x.count / input, *input]);
        Ok(self.take(&x.matmul(&weight.tensor(&[*output, *input]).t()?)?))
    }

    fn numbers<'m>(&self, matrix: &'m Self::Matrix) -> Option<&'m Numbers> {
        self.plain.then_some(&matrix.0)
    }
}
