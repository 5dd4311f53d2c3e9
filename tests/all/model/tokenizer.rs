//! The tokenizer against the slow LLaMA tokenizer.

use serde::Deserialize;
use thorascribe::model::tokenizer::Tokenizer;
use thorascribe::model::tokenizer::sentencepiece::SentencePiece;

use super::reference;
use crate::support::objects::root;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[test]
fn texts_become_the_ids_of_the_slow_tokenizer_and_come_back() {
    let file = root().join("fixtures/reference/tokenizer_cases.json");
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let model = reference().join("vicuna/tokenizer.model");
    let tokenizer = Tokenizer::open(&model, vec![1, 2]).unwrap();
    assert_eq!(tokenizer.size(), 32_000);
    assert!(cases.len() >= 8);
    for Case { text, ids, decoded } in cases {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), decoded);
    }
}

#[test]
fn a_broken_sentencepiece_file_is_an_error() {
    let whole = std::fs::read(reference().join("vicuna/tokenizer.model")).unwrap();
    let pieces = SentencePiece::parse(&whole).unwrap();
    assert_eq!((pieces.len(), pieces.unk, pieces.bos, pieces.eos), (32_000, 0, 1, 2));
    // Nothing says where the file should end, but the part that says it is BPE stands last.
    for length in (0..2_000).chain(whole.len() - 60..whole.len() - 40) {
        assert!(SentencePiece::parse(&whole[..length]).is_err(), "cut at {length}");
    }
    let mut huge = whole;
    huge[1] = 0xff;
    assert!(SentencePiece::parse(&huge).is_err());
    assert!(SentencePiece::parse(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
}
