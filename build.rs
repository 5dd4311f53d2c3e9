//! Links on a machine that has no CUDA: `benches/gpu/build.sh` puts stand-ins for NVIDIA's libraries
//! into `CUDA_SHIM_DIR`. With the feature `cuda` it has our kernels translated. Without variable and
//! feature nothing happens.

use std::error::Error;

#[cfg_attr(not(feature = "cuda"), expect(clippy::unnecessary_wraps, reason = "kernels can fail"))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=CUDA_SHIM_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(folder) = std::env::var("CUDA_SHIM_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
        // The static CUDA runtime needs these.
        for library in ["dl", "rt", "pthread"] {
            println!("cargo:rustc-link-arg=-l{library}");
        }
    }
    // To PTX in OUT_DIR, for the GPU that candle's own kernels are translated for.
    #[cfg(feature = "cuda")]
    cudaforge::KernelBuilder::new()
        .source_files(["src/model/layer/cuda/kernels.cu"])
        .args(["-std=c++17", "-O3"])
        .build_ptx()?;
    Ok(())
}
