//! The transfer syntaxes that the node takes (PS3.5 §10, Annex A).

macro_rules! syntaxes {
    ($($name:ident, $uid:literal, $text:literal;)*) => {
        /// How a data set is encoded. Only the syntaxes that the node accepts have a value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TransferSyntax {
            $(#[doc = $text] $name,)*
        }

        impl TransferSyntax {
            /// All of them, in the order in which the node prefers them when it receives.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The UID on the wire.
            pub const fn uid(self) -> &'static str {
                match self { $(Self::$name => $uid),* }
            }

            /// The name in the standard's words.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The syntax of a UID (trailing padding tolerated), if the node takes it.
            pub fn from_uid(uid: &str) -> Option<Self> {
                match uid.trim_end_matches(['\0', ' ']) { $($uid => Some(Self::$name),)* _ => None }
            }
        }
    };
}

syntaxes! {
    ExplicitLittle, "1.2.840.10008.1.2.1", "Explicit VR Little Endian";
    ImplicitLittle, "1.2.840.10008.1.2", "Implicit VR Little Endian";
    DeflatedLittle, "1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian";
    ExplicitBig, "1.2.840.10008.1.2.2", "Explicit VR Big Endian";
    JpegLossless, "1.2.840.10008.1.2.4.70", "JPEG Lossless, First-Order Prediction";
    JpegLosslessAny, "1.2.840.10008.1.2.4.57", "JPEG Lossless, Non-Hierarchical";
    JpegLsLossless, "1.2.840.10008.1.2.4.80", "JPEG-LS Lossless";
    Jpeg2000Lossless, "1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless";
    HtJpeg2000Lossless, "1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Lossless";
    HtJpeg2000LosslessRpcl, "1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 Lossless RPCL";
    RleLossless, "1.2.840.10008.1.2.5", "RLE Lossless";
    JpegLsNearLossless, "1.2.840.10008.1.2.4.81", "JPEG-LS Near-Lossless";
    Jpeg2000, "1.2.840.10008.1.2.4.91", "JPEG 2000";
    HtJpeg2000, "1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000";
    JpegBaseline, "1.2.840.10008.1.2.4.50", "JPEG Baseline";
    JpegExtended, "1.2.840.10008.1.2.4.51", "JPEG Extended";
}

impl TransferSyntax {
    /// Whether pixel data lie in fragments (PS3.5 §A.4).
    pub const fn is_encapsulated(self) -> bool {
        !matches!(
            self,
            Self::ExplicitLittle | Self::ImplicitLittle | Self::DeflatedLittle | Self::ExplicitBig
        )
    }

    /// Whether elements carry their VR.
    pub const fn is_explicit(self) -> bool {
        !matches!(self, Self::ImplicitLittle)
    }

    /// Whether numbers stand with their most significant byte first.
    pub const fn is_big_endian(self) -> bool {
        matches!(self, Self::ExplicitBig)
    }
}
