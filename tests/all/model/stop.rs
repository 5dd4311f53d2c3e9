//! Where an answer ends.

use thorascribe::model::prompt::template;
use thorascribe::model::stop::Stop;

use super::imported;
use thorascribe::model::Model;
use thorascribe::model::checkpoint::manifest::ImageTokens;

#[test]
fn an_answer_ends_at_end_of_sequence_stop_tokens_and_stop_text() {
    let model = Model::open(imported(ImageTokens::Pooled)).unwrap();
    let template = template(model.manifest(), None).unwrap();
    let (stop, tokenizer) = (Stop::new(model.manifest(), &template), model.tokenizer());
    let answer = tokenizer.encode("No effusion.").unwrap();
    // "###" as one token, as two, and as three that no sequence names; the space before it in one
    // token with it; and the end of sequence.
    for end in [vec![835], vec![2277, 29937], vec![29937, 29937, 29937], vec![396, 2277], vec![2]] {
        let mut ids = answer.clone();
        for (i, id) in end.iter().enumerate() {
            ids.push(*id);
            let ended = stop.end(&ids, tokenizer).unwrap();
            ids.truncate(ended.unwrap_or(ids.len()));
            assert_eq!(ended.is_some(), i + 1 == end.len(), "{end:?} after {}", i + 1);
        }
        assert_eq!(tokenizer.decode(&ids).unwrap().trim(), "No effusion.", "{end:?}");
        assert!(ids.starts_with(&answer));
    }
    let other = tokenizer.encode("No effusion. ## #").unwrap();
    assert_eq!(stop.end(&other, tokenizer).unwrap(), None);
}
