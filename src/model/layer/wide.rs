//! Kernels compiled twice: for every processor of the architecture, and for those with AVX2.

/// Makes a function that runs `$kernel`, compiled for AVX2 where the processor has it.
///
/// `$kernel` must be `#[inline(always)]`: it is compiled anew within each of the two.
macro_rules! wide {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $kernel:ident) => {
        $(#[$doc])*
        fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) {
                    $kernel($($argument),*);
                }
                if is_x86_feature_detected!("avx2") {
                    #[expect(unsafe_code, reason = "for instructions that were looked for")]
                    // SAFETY: AVX2 was detected.
                    unsafe {
                        avx2($($argument),*)
                    };
                    return;
                }
            }
            $kernel($($argument),*);
        }
    };
}

pub(super) use wide;
