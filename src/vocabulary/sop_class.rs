//! The SOP classes that the node knows (PS3.4 Annex B, PS3.6 Annex A).

/// What the node does with objects of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SopKind {
    /// C-ECHO.
    Verification,
    /// Computed or digital radiography: a draft may be made.
    Radiograph,
    /// Secondary capture of one frame: a draft only when the modality is CR, DX or RG.
    SecondaryCapture,
    /// Kept and forwarded, never inferred on.
    StoreOnly,
    /// A structured report: kept and forwarded.
    Report,
}

macro_rules! classes {
    ($($name:ident, $uid:literal, $kind:ident, $text:literal;)*) => {
        /// A SOP class that the node accepts or sends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SopClass {
            $(#[doc = $text] $name,)*
        }

        impl SopClass {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The UID on the wire.
            pub const fn uid(self) -> &'static str {
                match self { $(Self::$name => $uid),* }
            }

            /// The name in the standard's words.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// What the node does with it.
            pub const fn kind(self) -> SopKind {
                match self { $(Self::$name => SopKind::$kind),* }
            }

            /// The class of a UID (trailing padding tolerated), if the node knows it.
            pub fn from_uid(uid: &str) -> Option<Self> {
                match uid.trim_end_matches(['\0', ' ']) { $($uid => Some(Self::$name),)* _ => None }
            }
        }
    };
}

classes! {
    Verification, "1.2.840.10008.1.1", Verification, "Verification";
    CrImage, "1.2.840.10008.5.1.4.1.1.1", Radiograph, "Computed Radiography Image Storage";
    DxPresentation, "1.2.840.10008.5.1.4.1.1.1.1", Radiograph, "Digital X-Ray Image Storage - For Presentation";
    DxProcessing, "1.2.840.10008.5.1.4.1.1.1.1.1", Radiograph, "Digital X-Ray Image Storage - For Processing";
    SecondaryCapture, "1.2.840.10008.5.1.4.1.1.7", SecondaryCapture, "Secondary Capture Image Storage";
    MultiFrameBitCapture, "1.2.840.10008.5.1.4.1.1.7.1", StoreOnly, "Multi-frame Single Bit Secondary Capture Image Storage";
    MultiFrameByteCapture, "1.2.840.10008.5.1.4.1.1.7.2", StoreOnly, "Multi-frame Grayscale Byte Secondary Capture Image Storage";
    MultiFrameWordCapture, "1.2.840.10008.5.1.4.1.1.7.3", StoreOnly, "Multi-frame Grayscale Word Secondary Capture Image Storage";
    MultiFrameColorCapture, "1.2.840.10008.5.1.4.1.1.7.4", StoreOnly, "Multi-frame True Color Secondary Capture Image Storage";
    XrayAngiographic, "1.2.840.10008.5.1.4.1.1.12.1", StoreOnly, "X-Ray Angiographic Image Storage";
    XrayRadiofluoroscopic, "1.2.840.10008.5.1.4.1.1.12.2", StoreOnly, "X-Ray Radiofluoroscopic Image Storage";
    GrayscalePresentation, "1.2.840.10008.5.1.4.1.1.11.1", StoreOnly, "Grayscale Softcopy Presentation State Storage";
    KeyObjectSelection, "1.2.840.10008.5.1.4.1.1.88.59", StoreOnly, "Key Object Selection Document Storage";
    BasicTextSr, "1.2.840.10008.5.1.4.1.1.88.11", Report, "Basic Text SR Storage";
    EnhancedSr, "1.2.840.10008.5.1.4.1.1.88.22", Report, "Enhanced SR Storage";
    ComprehensiveSr, "1.2.840.10008.5.1.4.1.1.88.33", Report, "Comprehensive SR Storage";
    Comprehensive3dSr, "1.2.840.10008.5.1.4.1.1.88.34", Report, "Comprehensive 3D SR Storage";
}
