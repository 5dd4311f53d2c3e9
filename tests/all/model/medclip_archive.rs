//! MedCLIP in the zip archive that it is published in.

use std::collections::BTreeMap;
use std::io::Write;

use thorascribe::model::checkpoint::ModelFiles;
use thorascribe::model::checkpoint::import::import;
use thorascribe::model::checkpoint::manifest::ImageTokens;

use super::reference::{copy, imported, of};

/// A zip archive of one deflated file.
fn zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    let packed = packed.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let sizes = [crc.sum(), packed.len() as u32, bytes.len() as u32];
    // Version, flags, deflated, time, date; then the sizes and the lengths of name and extra field.
    let mut common = [[20, 0], [0, 0], [8, 0], [0, 0], [0, 0]].concat();
    common.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
    common.extend((name.len() as u16).to_le_bytes());
    common.extend([0, 0]);
    let local = [b"PK\x03\x04", common.as_slice(), name.as_bytes(), &packed].concat();
    let central = [b"PK\x01\x02\x14\0", common.as_slice(), &[0; 14], name.as_bytes()].concat();
    let mut end = b"PK\x05\x06\0\0\0\0\x01\0\x01\0".to_vec();
    end.extend((central.len() as u32).to_le_bytes());
    end.extend((local.len() as u32).to_le_bytes());
    end.extend([0, 0]);
    [local, central, end].concat()
}

#[test]
fn medclip_is_imported_from_the_archive_that_it_comes_in() {
    let folder = copy();
    let state = folder.path().join("medclip_pytorch_model.bin");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::remove_file(&state).unwrap();
    let archive = folder.path().join("medclip-vit-pretrained.zip");
    std::fs::write(&archive, zip("medclip-vit/pytorch_model.bin", &bytes)).unwrap();
    let out = folder.path().join("model");
    let manifest = import(folder.path(), &out, &of(ImageTokens::Patches), &mut |_| {}).unwrap();
    assert!(manifest.source.contains("medclip-vit-pretrained.zip"), "{}", manifest.source);
    let encoder = |files: &BTreeMap<String, String>| files["image_encoder.safetensors"].clone();
    let plain = ModelFiles::open(imported(ImageTokens::Patches)).unwrap();
    assert_eq!(encoder(&manifest.files), encoder(&plain.manifest().files));
    // One that says less than it holds, and one that holds something else.
    let lies = zip("pytorch_model.bin", &bytes);
    let size = (bytes.len() as u32).to_le_bytes();
    let less = (bytes.len() as u32 - 1).to_le_bytes();
    let lies: Vec<u8> = {
        let mut lies = lies;
        for at in 0..lies.len() - 4 {
            if lies[at..at + 4] == size {
                lies[at..at + 4].copy_from_slice(&less);
            }
        }
        lies
    };
    for (bytes, why) in
        [(lies, "not as long as it says"), (zip("other.bin", b"x"), "should hold one")]
    {
        std::fs::write(&archive, bytes).unwrap();
        let out = folder.path().join("other");
        let error = import(folder.path(), &out, &of(ImageTokens::Patches), &mut |_| {});
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
