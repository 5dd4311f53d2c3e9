//! Kernels compiled twice: for every processor of the architecture, and for those with AVX2.

/// Makes of a function one that runs as compiled for AVX2 where the processor has it: its body is
/// inlined into both.
macro_rules! wide {
    ($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        fn $name($($argument: $type),*) {
            #[inline(always)]
            fn kernel($($argument: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) {
                    kernel($($argument),*);
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
            kernel($($argument),*);
        }
    };
}

pub(super) use wide;
