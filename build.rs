//! Links a build with CUDA on a machine that has none: `benches/gpu/build.sh` puts stand-ins for
//! NVIDIA's libraries into `CUDA_SHIM_DIR`. Without that variable nothing happens.

fn main() {
    println!("cargo:rerun-if-env-changed=CUDA_SHIM_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(folder) = std::env::var("CUDA_SHIM_DIR") {
        println!("cargo:rustc-link-search=native={folder}");
        // The static CUDA runtime needs these.
        for library in ["dl", "rt", "pthread"] {
            println!("cargo:rustc-link-arg=-l{library}");
        }
    }
}
