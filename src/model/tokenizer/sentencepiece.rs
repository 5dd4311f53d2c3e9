//! SentencePiece's `tokenizer.model`, as LLaMA has it, to the format of `tokenizers`.
//!
//! Reads the three parts of the protocol buffer that matter (`sentencepiece_model.proto`: pieces,
//! trainer, normaliser). The result equals the slow LLaMA tokenizer: a space before the text,
//! spaces as U+2581, merges in the order of the pieces' scores, bytes for what has no piece.

use std::collections::HashMap;

use serde_json::json;

/// The pieces of a byte-pair model.
#[derive(Clone, Debug)]
pub struct SentencePiece {
    pieces: Vec<Piece>,
    add_dummy_prefix: bool,
    /// Id of the unknown piece.
    pub unk: u32,
    /// Begin of sequence.
    pub bos: u32,
    /// End of sequence.
    pub eos: u32,
}

#[derive(Clone, Debug)]
struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const USER_DEFINED: u64 = 4;
const BYTE_PAIRS: u64 = 2;
const MOST_PIECES: usize = 1 << 20;
const LONGEST_PIECE: usize = 1024;

impl SentencePiece {
    /// Parses the file; the error says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let (mut model_type, mut unk, mut bos, mut eos) = (1, 0, 1, 2);
        let mut add_dummy_prefix = true;
        // The defaults of the .proto file.
        let mut remove_extra_whitespaces = true;
        let mut characters_map = 0;
        let mut file = Reader(bytes);
        while let Some((field, value)) = file.field()? {
            match (field, value) {
                (1, Value::Bytes(piece)) => {
                    pieces.push(Piece::parse(piece)?);
                    if pieces.len() > MOST_PIECES {
                        return Err(format!("more than {MOST_PIECES} pieces"));
                    }
                }
                (2, Value::Bytes(trainer)) => {
                    let mut trainer = Reader(trainer);
                    while let Some((field, value)) = trainer.field()? {
                        match (field, value) {
                            (3, Value::Number(n)) => model_type = n,
                            (40, Value::Number(n)) => unk = n,
                            (41, Value::Number(n)) => bos = n,
                            (42, Value::Number(n)) => eos = n,
                            _ => {}
                        }
                    }
                }
                (3, Value::Bytes(normalizer)) => {
                    let mut normalizer = Reader(normalizer);
                    while let Some((field, value)) = normalizer.field()? {
                        match (field, value) {
                            (2, Value::Bytes(map)) => characters_map = map.len(),
                            (3, Value::Number(n)) => add_dummy_prefix = n != 0,
                            (4, Value::Number(n)) => remove_extra_whitespaces = n != 0,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if pieces.is_empty() {
            return Err("no pieces: not a SentencePiece model".to_owned());
        }
        if model_type != BYTE_PAIRS {
            return Err(format!(
                "SentencePiece model type {model_type}; only BPE (2) is supported"
            ));
        }
        if characters_map != 0 || remove_extra_whitespaces {
            return Err("a normaliser other than LLaMA's identity is not supported".to_owned());
        }
        if pieces.iter().any(|p| p.kind == USER_DEFINED) {
            return Err("user-defined pieces are not supported".to_owned());
        }
        let id = |name: &str, n: u64| match u32::try_from(n) {
            Ok(id) if (id as usize) < pieces.len() => Ok(id),
            _ => Err(format!("{name} = {n} is not one of the {} pieces", pieces.len())),
        };
        let (unk, bos, eos) = (id("unk_id", unk)?, id("bos_id", bos)?, id("eos_id", eos)?);
        Ok(Self { pieces, add_dummy_prefix, unk, bos, eos })
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there are none; never.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The same tokenizer as a `tokenizer.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let vocabulary = self.pieces.iter().zip(0u32..).map(|(p, id)| (p.text.clone(), json!(id)));
        let vocabulary = vocabulary.collect::<serde_json::Map<_, _>>();
        let mut normalizers = vec![];
        if self.add_dummy_prefix {
            normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
        }
        normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.add_dummy_prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.pieces.get(self.unk as usize).map(|p| p.text.as_str());
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": unknown,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": true,
                "byte_fallback": true,
                "vocab": vocabulary,
                "merges": self.merges(),
            },
        });
        json.to_string().into_bytes()
    }

    /// Every way to join two pieces into a third, best score of the third first.
    fn merges(&self) -> Vec<(&str, &str)> {
        let normal = self.pieces.iter().filter(|p| p.kind == NORMAL);
        let ids = normal
            .clone()
            .zip(0u32..)
            .map(|(p, order)| (p.text.as_str(), order))
            .collect::<HashMap<_, _>>();
        let mut merges = Vec::new();
        for piece in normal {
            let mut ways = piece
                .text
                .char_indices()
                .skip(1)
                .map(|(at, _)| piece.text.split_at(at))
                .filter_map(|(l, r)| Some((*ids.get(l)?, *ids.get(r)?, l, r)))
                .collect::<Vec<_>>();
            ways.sort_unstable_by_key(|(l, r, _, _)| (*l, *r));
            merges.extend(ways.into_iter().map(|(_, _, l, r)| (piece.score, l, r)));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0));
        merges.into_iter().map(|(_, l, r)| (l, r)).collect()
    }
}

impl Piece {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: NORMAL };
        let mut reader = Reader(bytes);
        while let Some((field, value)) = reader.field()? {
            match (field, value) {
                (1, Value::Bytes(text)) => {
                    if text.len() > LONGEST_PIECE {
                        return Err(format!("a piece longer than {LONGEST_PIECE} bytes"));
                    }
                    let text = std::str::from_utf8(text).map_err(|e| format!("a piece: {e}"))?;
                    text.clone_into(&mut piece.text);
                }
                (2, Value::Word(bits)) => piece.score = f32::from_bits(bits),
                (3, Value::Number(kind)) => piece.kind = kind,
                _ => {}
            }
        }
        if piece.text.is_empty() && piece.kind != UNKNOWN {
            return Err("an empty piece".to_owned());
        }
        Ok(piece)
    }
}

/// The wire format of protocol buffers.
struct Reader<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Word(u32),
    Bytes(&'a [u8]),
    Skipped,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Skipped
            }
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let word = self.take(4)?.first_chunk::<4>().copied().unwrap_or_default();
                Value::Word(u32::from_le_bytes(word))
            }
            other => return Err(format!("wire type {other}: not a SentencePiece model")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or("the file ends within a number")?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or("a field reaches past the end of the file")?;
        self.0 = rest;
        Ok(taken)
    }
}
