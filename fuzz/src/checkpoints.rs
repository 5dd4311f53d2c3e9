//! Checkpoints: files of tensors that somebody made somewhere.

use thorascribe::model::checkpoint::gguf::Gguf;
use thorascribe::model::checkpoint::stored::Stored;
use thorascribe::model::checkpoint::torch;

use super::scratch::with_file;

/// A tensor of more numbers is not read: the time is better spent on headers.
const MOST_NUMBERS: usize = 1 << 16;

/// A file of PyTorch: an even byte and the whole file, or an odd one and its pickle alone.
pub fn pickles(bytes: &[u8]) {
    let Some((form, bytes)) = bytes.split_first() else { return };
    let whole = if form & 1 == 0 { bytes.to_vec() } else { archive(bytes) };
    let read = with_file(&whole, |path| torch::read(path, |_| true));
    match read {
        Err(error) => assert!(!error.to_string().is_empty()),
        // No tensor has more numbers than the file has bytes.
        Ok(tensors) => assert!(tensors.values().all(|t| t.elem_count() <= whole.len())),
    }
}

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    if let Err(error) =
        with_file(bytes, |path| Stored::of_safetensors(path).map(|stored| all(&stored)))
    {
        assert!(!error.to_string().is_empty());
    }
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) {
    if let Err(error) = with_file(bytes, |path| Gguf::open(path).map(|gguf| all(&gguf.stored))) {
        assert!(!error.to_string().is_empty());
    }
}

/// Reads every tensor that is not too large.
fn all(stored: &Stored) {
    for name in stored.names() {
        let (shape, _) = stored.describe(&name).expect("a tensor that has a name has a shape");
        if shape.iter().product::<usize>() > MOST_NUMBERS {
            continue;
        }
        match stored.tensor(&name) {
            Ok(tensor) => assert_eq!(tensor.dims(), shape, "{name}"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// An archive as `torch.save` writes it, with this pickle and four small storages.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let storage: Vec<u8> = (0..64).collect();
    let mut entries = vec![("m/data.pkl".to_owned(), pickle)];
    entries.extend((0..4).map(|key| (format!("m/data/{key}"), storage.as_slice())));
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in &entries {
        let (at, size) = (number(out.len()), number(content.len()));
        let name_length = u16::try_from(name.len()).unwrap_or_default().to_le_bytes();
        // Version, flags, method, time, date, checksum, sizes, lengths of name and extra field.
        let common =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &size, &size, &name_length, &[0, 0]]
                .concat();
        out.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), content].concat());
        let tail = [0; 10];
        let entry =
            [b"PK\x01\x02\x14\x00".as_slice(), &common, &tail, &at, name.as_bytes()].concat();
        directory.extend(entry);
    }
    let count = u16::try_from(entries.len()).unwrap_or_default().to_le_bytes();
    let (at, size) = (number(out.len()), number(directory.len()));
    out.extend(directory);
    let end = [b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count, &size, &at, &[0, 0]].concat();
    out.extend(end);
    out
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}
