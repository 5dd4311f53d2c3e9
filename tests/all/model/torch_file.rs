//! Writes PyTorch checkpoints: honest ones, and any other.

use std::io::Write;
use std::path::Path;

/// Opcodes of a pickle, one after another.
#[derive(Default)]
pub(super) struct Pickle(pub(super) Vec<u8>);

impl Pickle {
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    pub(super) fn class(&mut self, module: &str, name: &str) -> &mut Self {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
        self
    }

    pub(super) fn integer(&mut self, number: i64) -> &mut Self {
        self.0.extend([0x8a, 8]);
        self.0.extend(number.to_le_bytes());
        self
    }

    pub(super) fn integers(&mut self, numbers: &[i64]) -> &mut Self {
        self.0.push(b'(');
        for number in numbers {
            self.integer(*number);
        }
        self.0.push(b't');
        self
    }

    /// An f32 tensor over a storage of `length` numbers.
    pub(super) fn tensor(
        &mut self,
        storage: &str,
        length: i64,
        offset: i64,
        shape: &[i64],
        stride: &[i64],
    ) -> &mut Self {
        self.class("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        self.text("storage").class("torch", "FloatStorage").text(storage).text("cpu");
        self.integer(length);
        self.0.extend(b"tQ");
        self.integer(offset).integers(shape).integers(stride);
        self.0.push(0x89);
        self.class("collections", "OrderedDict");
        self.0.extend(b")RtR");
        self
    }
}

/// A pickle of one dictionary; `entries` writes keys and values.
pub(super) fn dictionary(entries: impl FnOnce(&mut Pickle)) -> Vec<u8> {
    let mut pickle = Pickle(vec![0x80, 2]);
    pickle.class("collections", "OrderedDict");
    pickle.0.extend(b")R(");
    entries(&mut pickle);
    pickle.0.extend(b"u.");
    pickle.0
}

/// A zip archive without compression.
pub(super) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = out.len() as u32;
        let sizes = (data.len() as u32).to_le_bytes().repeat(2);
        let name_length = (name.len() as u16).to_le_bytes();
        // Version, flags, method, time, date, checksum; then the sizes.
        let middle =
            [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes, &name_length].concat();
        out.extend([&b"PK\x03\x04"[..], &middle, &[0, 0], name.as_bytes(), data].concat());
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &middle, &[0; 12]].concat());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (count, start) = ((entries.len() as u16).to_le_bytes(), (out.len() as u32).to_le_bytes());
    let size = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &start, &[0, 0]].concat());
    out
}

/// A checkpoint as `torch.save` writes it: names, shapes, numbers.
pub(crate) fn save(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let pickle = dictionary(|pickle| {
        for (i, (name, shape, data)) in tensors.iter().enumerate() {
            let shape = shape.iter().map(|d| *d as i64).collect::<Vec<_>>();
            let mut stride = vec![1; shape.len()];
            for d in (1..shape.len()).rev() {
                stride[d - 1] = stride[d] * shape[d];
            }
            pickle.text(name).tensor(&i.to_string(), data.len() as i64, 0, &shape, &stride);
        }
    });
    let bytes = |data: &[f32]| data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let storages = tensors.iter().enumerate();
    let storages = storages.map(|(i, (_, _, data))| (format!("m/data/{i}"), bytes(data)));
    let storages = storages.collect::<Vec<_>>();
    let mut entries = vec![("m/data.pkl", &pickle[..]), ("m/byteorder", b"little")];
    entries.extend(storages.iter().map(|(name, data)| (name.as_str(), &data[..])));
    std::fs::File::create(path).unwrap().write_all(&archive(&entries)).unwrap();
}
