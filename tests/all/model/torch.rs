//! PyTorch files that lie give errors.

use std::time::{Duration, Instant};

use thorascribe::model::ModelError;
use thorascribe::model::checkpoint::{Tensors, torch};

use super::torch_file::{Pickle, archive, dictionary, save};

fn read(bytes: &[u8]) -> Result<Tensors, ModelError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    torch::read(file.path(), |_| true)
}

/// One tensor `w` over a storage of twelve numbers that really is there.
fn one(length: i64, offset: i64, shape: &[i64], stride: &[i64]) -> Result<Tensors, ModelError> {
    let pickle = dictionary(|p| {
        p.text("w").tensor("0", length, offset, shape, stride);
    });
    let data = (0..12u8).flat_map(|i| f32::from(i).to_le_bytes()).collect::<Vec<_>>();
    read(&archive(&[("m/data.pkl", &pickle), ("m/data/0", &data)]))
}

#[test]
fn views_into_a_storage_are_read_as_they_lie() {
    let rows = |t: &Tensors| t["w"].to_vec2::<f32>().unwrap();
    let whole = one(12, 0, &[3, 4], &[4, 1]).unwrap();
    assert_eq!(rows(&whole), [[0., 1., 2., 3.], [4., 5., 6., 7.], [8., 9., 10., 11.]]);
    let transposed = one(12, 0, &[4, 3], &[1, 4]).unwrap();
    assert_eq!(rows(&transposed)[1], [1., 5., 9.]);
    let part = one(12, 5, &[2, 2], &[4, 1]).unwrap();
    assert_eq!(rows(&part), [[5., 6.], [9., 10.]]);
}

#[test]
fn a_shape_that_does_not_fit_its_storage_is_an_error() {
    for (length, offset, shape, stride) in [
        (12, 0, vec![4, 4], vec![4, 1]),
        (12, 1, vec![3, 4], vec![4, 1]),
        (12, i64::MAX, vec![1], vec![1]),
        (12, 0, vec![1 << 40, 1 << 40], vec![1, 1]),
        (12, 0, vec![1 << 40], vec![0]),
        (12, 0, vec![2, 2], vec![i64::MAX, 1]),
        (12, -4, vec![2], vec![1]),
        (12, 0, vec![-2], vec![1]),
        (12, 0, vec![3, 4], vec![1]),
        (1 << 60, 0, vec![1 << 59], vec![1]),
        (13, 0, vec![13], vec![1]),
    ] {
        let error = one(length, offset, &shape, &stride).expect_err(&format!("{shape:?}"));
        let error = error.to_string();
        assert!(error.contains(": w: "), "the tensor is not named: {error}");
    }
}

#[test]
fn a_file_that_is_no_checkpoint_is_an_error() {
    let tensor = dictionary(|p| {
        p.text("w").tensor("0", 1, 0, &[1], &[1]);
    });
    let big = [("m/data.pkl", &tensor[..]), ("m/data/0", &[0; 4]), ("m/byteorder", b"big")];
    let empty = dictionary(|_| {});
    for (bytes, says) in [
        (vec![], "not a zip archive"),
        (b"\x80\x02}q\x00.".to_vec(), "not a zip archive"),
        (archive(&[]), "no data.pkl"),
        (archive(&[("m/data.pkl", b"")]), "broken or cut off"),
        (archive(&[("m/data.pkl", b"\x80\x02\xff.")]), "opcode 0xff"),
        (archive(&[("m/data.pkl", &empty)]), "no dictionary of tensors"),
        (archive(&[("m/data.pkl", &tensor)]), "no entry \"m/data/0\""),
        (archive(&big), "little-endian"),
    ] {
        let error = read(&bytes).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_pickle_that_grows_without_bound_when_believed_is_read_at_once() {
    // Sixty times a pair of the pair before: 2^60 leaves for a reader that copies.
    let pickle = dictionary(|p| {
        p.text("bomb");
        p.0.extend(b")q\x01");
        for _ in 0..60 {
            p.0.extend(b"h\x01h\x01\x86q\x01");
        }
        // Half a million nested tuples: the end of a stack for a reader that recurses.
        p.text("deep");
        p.0.extend(std::iter::once(b')').chain(std::iter::repeat_n(0x85, 500_000)));
        p.text("w").tensor("0", 1, 0, &[1], &[1]);
    });
    let start = Instant::now();
    let tensors = read(&archive(&[("m/data.pkl", &pickle), ("m/data/0", &[0, 0, 128, 63])]));
    assert_eq!(tensors.unwrap()["w"].to_vec1::<f32>().unwrap(), [1.0]);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_pickle_that_names_more_than_tensors_need_is_refused_whole() {
    let reader = |module: &str, name: &str| {
        let pickle = dictionary(|p| {
            p.text("w").tensor("0", 1, 0, &[1], &[1]);
            p.text("run").class(module, name).text("true");
            p.0.extend(b"\x85R");
        });
        read(&archive(&[("m/data.pkl", &pickle), ("m/data/0", &[0, 0, 128, 63])]))
    };
    for (module, name) in [
        ("posix", "system"),
        ("os", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.serialization", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("numpy", "load"),
        ("runpy", "_run_code"),
    ] {
        let error = reader(module, name).expect_err(name).to_string();
        assert!(error.contains(&format!("{module}.{name}")), "{error}");
        assert!(error.contains("nothing of it was run"), "{error}");
    }
    // What stands beside tensors in honest checkpoints.
    for (module, name) in [
        ("argparse", "Namespace"),
        ("builtins", "set"),
        ("omegaconf.dictconfig", "DictConfig"),
        ("torch", "bfloat16"),
        ("numpy.core.multiarray", "scalar"),
    ] {
        assert_eq!(reader(module, name).unwrap().len(), 1, "{module}.{name}");
    }
}

#[test]
fn a_dictionary_within_itself_ends() {
    // {"model": itself}: no tensors, however often one looks.
    let mut pickle = Pickle(b"\x80\x02}q\x00".to_vec());
    pickle.text("model").0.extend(b"h\x00s.");
    let error = read(&archive(&[("m/data.pkl", &pickle.0)])).unwrap_err().to_string();
    assert!(error.contains("no dictionary of tensors"), "{error}");
    // A parameter of itself, and a tensor whose storage is itself.
    for body in [
        &b"ctorch._utils\n_rebuild_parameter\n(h\x00tR"[..],
        b"ctorch._utils\n_rebuild_tensor_v2\n(h\x00h\x00h\x00h\x00tR",
    ] {
        let mut pickle = Pickle(b"\x80\x02}q\x00".to_vec());
        pickle.text("w").0.extend([body, b"s."].concat());
        assert!(read(&archive(&[("m/data.pkl", &pickle.0)])).is_err());
    }
}

#[test]
fn an_archive_whose_entries_lie_is_refused() {
    let pickle = dictionary(|p| {
        p.text("w").tensor("0", 3, 0, &[3], &[1]);
    });
    let data = [7u8; 12];
    let entries = [("m/data.pkl", &pickle[..]), ("m/data/0", &data[..]), ("m/data/1", &data[..])];
    let whole = archive(&entries);
    assert!(read(&whole).is_ok());
    // Offsets of the fields of an entry in the directory, and of the entry itself.
    let listed = |name: &str| {
        let at = |from: usize| {
            whole[from..].windows(name.len()).position(|w| w == name.as_bytes()).unwrap() + from
        };
        let first = at(0);
        (at(first + 1) - 46, first - 30)
    };
    let (directory, entry) = listed("m/data/1");
    let change = |at: usize, bytes: &[u8]| {
        let mut other = whole.clone();
        other[at..at + bytes.len()].copy_from_slice(bytes);
        other
    };
    let (_, other) = listed("m/data/0");
    let huge = u32::MAX - 1;
    let both = {
        // Directory and entry agree on a size that reaches into the directory.
        let size = 4000u32.to_le_bytes();
        let mut lie = change(directory + 20, &[size, size].concat());
        lie[entry + 18..entry + 26].copy_from_slice(&[size, size].concat());
        lie
    };
    let overlap = {
        // The first entry's data run over the second.
        let size = 40u32.to_le_bytes();
        let (directory, entry) = listed("m/data/0");
        let mut lie = change(directory + 20, &[size, size].concat());
        lie[entry + 18..entry + 26].copy_from_slice(&[size, size].concat());
        lie
    };
    let twice = archive(&[entries[0], entries[1], entries[1]]);
    for (bytes, says) in [
        (change(directory + 42, &(other as u32).to_le_bytes()), "differ in its name"),
        (change(directory + 24, &13u32.to_le_bytes()), "differ in its size"),
        (change(directory + 20, &huge.to_le_bytes()), "differ in its size"),
        (change(directory + 42, &huge.to_le_bytes()), "past its end"),
        (change(directory + 42, &3u32.to_le_bytes()), "has no header"),
        (both, "reaches past the archive's data"),
        (overlap, "overlap"),
        (twice, "stands twice"),
    ] {
        let error = read(&bytes).expect_err(says).to_string();
        assert!(error.contains(says), "{says} is not in {error}");
    }
}

#[test]
fn no_cut_and_no_changed_byte_makes_the_reader_panic() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let names = ["a.weight", "a.bias"].map(str::to_owned);
    let tensors = names.map(|name| (name, vec![2, 3], vec![0.5; 6]));
    save(file.path(), &tensors);
    let whole = std::fs::read(file.path()).unwrap();
    assert_eq!(read(&whole).unwrap().len(), 2);
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "cut at {length}");
    }
    for at in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut other = whole.clone();
            other[at] ^= change;
            // An error or other numbers; what counts is that it returns.
            drop(read(&other));
        }
    }
}
